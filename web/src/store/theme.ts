/** Light, dark, or what the system says. Kept where the browser lets us; a browser that does not is no error. */

import { effect, signal } from "@preact/signals";

export const THEMES = ["auto", "light", "dark"] as const;
export type Theme = (typeof THEMES)[number];

const KEY = "pulseboard.theme";

export class ThemeChoice {
  readonly theme = signal<Theme>(recall());

  /** Hold the document to the choice. */
  start(): () => void {
    return effect(() => {
      const theme = this.theme.value;
      if (theme === "auto") delete document.documentElement.dataset["theme"];
      else document.documentElement.dataset["theme"] = theme;
    });
  }

  next(): void {
    const theme = THEMES[(THEMES.indexOf(this.theme.peek()) + 1) % THEMES.length] ?? "auto";
    this.theme.value = theme;
    try {
      localStorage.setItem(KEY, theme);
    } catch {
      // Storage is off or full: the choice lasts as long as the page.
    }
  }
}

function recall(): Theme {
  try {
    const kept = localStorage.getItem(KEY);
    return THEMES.find((theme) => theme === kept) ?? "auto";
  } catch {
    return "auto";
  }
}

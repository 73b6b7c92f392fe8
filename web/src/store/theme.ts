/** The colour scheme: light, dark, or that of the system. localStorage keeps it, if allowed. */

import { effect, signal } from "@preact/signals";

export const THEMES = ["auto", "light", "dark"] as const;
export type Theme = (typeof THEMES)[number];

const KEY = "pulseboard.theme";

export class ThemeChoice {
  readonly theme = signal<Theme>(restore());

  /** Apply the choice to the document, now and after each change. */
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
      // Storage is off or full: the choice lasts until the page is closed.
    }
  }
}

function restore(): Theme {
  try {
    const kept = localStorage.getItem(KEY);
    return THEMES.find((theme) => theme === kept) ?? "auto";
  } catch {
    return "auto";
  }
}

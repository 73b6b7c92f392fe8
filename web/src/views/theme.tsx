/** The switch of the colour scheme: the system's, light, or dark. */

import type { Theme, ThemeChoice } from "../store/theme";

const PATHS: Record<Theme, string> = {
  auto: "M8 2a6 6 0 1 0 0 12A6 6 0 0 0 8 2zm0 1.5v9a4.5 4.5 0 0 1 0-9z",
  light:
    "M8 5a3 3 0 1 0 0 6 3 3 0 0 0 0-6zM7.3 1h1.4v2.2H7.3zM7.3 12.8h1.4V15H7.3zM1 7.3h2.2v1.4H1zM12.8 7.3H15v1.4h-2.2zM2.6 3.6l1-1 1.5 1.6-1 1zM10.9 11.9l1-1 1.5 1.5-1 1zM2.6 12.4l1.5-1.5 1 1-1.5 1.5zM10.9 4.1l1.5-1.5 1 1-1.5 1.5z",
  dark: "M13.6 9.7A6 6 0 0 1 6.3 2.4a.4.4 0 0 0-.5-.5 6.5 6.5 0 1 0 8.3 8.3.4.4 0 0 0-.5-.5z",
};

export function ThemeSwitch({ choice }: { choice: ThemeChoice }) {
  const theme = choice.theme.value;
  const label = `Colours: ${theme === "auto" ? "system" : theme}`;
  return (
    <button
      type="button"
      class="icon-button"
      title={label}
      aria-label={label}
      onClick={() => choice.next()}
    >
      <svg viewBox="0 0 16 16" aria-hidden="true">
        <path d={PATHS[theme]} fill="currentColor" fill-rule="evenodd" />
      </svg>
    </button>
  );
}

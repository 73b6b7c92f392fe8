/** The shape of each state, so that colour is not the only cue. */

import type { JSX } from "preact";
import type { State } from "../wire/state";

const SHAPES: Record<State, JSX.Element> = {
  alive: <circle cx="6" cy="6" r="4.5" fill="currentColor" />,
  late: (
    <>
      <circle cx="6" cy="6" r="4" fill="none" stroke="currentColor" stroke-width="1.5" />
      <path d="M6 2a4 4 0 0 1 0 8z" fill="currentColor" />
    </>
  ),
  lost: (
    <path
      d="M2.5 2.5l7 7m0-7l-7 7"
      fill="none"
      stroke="currentColor"
      stroke-width="2.4"
      stroke-linecap="round"
    />
  ),
  stopped: <rect x="2.25" y="2.25" width="7.5" height="7.5" rx="1" fill="currentColor" />,
  silent: <circle cx="6" cy="6" r="4" fill="none" stroke="currentColor" stroke-width="1.75" />,
  missing: (
    <circle
      cx="6"
      cy="6"
      r="4"
      fill="none"
      stroke="currentColor"
      stroke-width="1.5"
      stroke-dasharray="2.1 2.1"
    />
  ),
  unknown: (
    <path d="M2 6h8" fill="none" stroke="currentColor" stroke-width="2.4" stroke-linecap="round" />
  ),
};

export function Glyph({ state }: { state: State }) {
  return (
    <svg class="glyph" viewBox="0 0 12 12" aria-hidden="true">
      {SHAPES[state]}
    </svg>
  );
}

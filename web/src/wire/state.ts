/** What the board makes of an instance: the rule of docs/reference/wire.md, held by spec/fixtures/state.json. */

/** Every state, the most troubling first. */
export const STATES = ["lost", "late", "missing", "unknown", "alive", "silent", "stopped"] as const;
export type State = (typeof STATES)[number];

/** States that ask somebody to look. */
export const TROUBLE: ReadonlySet<State> = new Set(["lost", "late", "missing"]);
/** States of an instance that is no longer there. */
export const ENDED: ReadonlySet<State> = new Set(["lost", "stopped"]);

/** All times in ms by Redis' clock; `seen` null: never (so only an expected service can be judged); `beat_s` null: no rhythm declared. */
export interface Signs {
  blind: boolean;
  seen: number | null;
  now: number;
  beat_s: number | null;
  goodbye: boolean;
}

/** How long after it was seen an instance of this rhythm still counts as alive, in ms. */
export function aliveForMs(beat_s: number): number {
  return beat_s * 2000 + 1000;
}

function lateForMs(beat_s: number): number {
  return beat_s * 4000 + 1000;
}

/** Judge an instance; the first line that holds. */
export function stateOf(signs: Signs): State {
  if (signs.blind) return "unknown";
  if (signs.seen === null) return "missing";
  if (signs.goodbye) return "stopped";
  if (signs.beat_s === null) return "silent";
  const age = signs.now - signs.seen;
  if (age <= aliveForMs(signs.beat_s)) return "alive";
  return age <= lateForMs(signs.beat_s) ? "late" : "lost";
}

/** What the board makes of an instance: the rule of docs/reference/wire.md, held by spec/fixtures/state.json. */

/** Every state, the most troubling first. */
export const STATES = ["lost", "late", "missing", "unknown", "alive", "silent", "stopped"] as const;
export type State = (typeof STATES)[number];

/** States that ask somebody to look. */
export const TROUBLE: ReadonlySet<State> = new Set(["lost", "late", "missing"]);

const LATE_AFTER_BEATS = 1.5;
const LOST_AFTER_BEATS = 2.5;
/** How long after the end of a planned absence its service may take to come back. */
const RETURN_GRACE_MS = 5000;
/** An event loop that has not answered for so long is stuck; a busy one may take its time. */
const STUCK_MS = 1000;

/** When an instance was last seen (null: never), and from when on its silence proves something. */
export interface Silence {
  seen: number | null;
  observed_since: number;
}

/**
 * All times in ms by Redis' clock; `heard`: up to when every sign of life was heard, however late it is by now; `heartbeat_s`
 * null: no rhythm declared; `lost`: it was declared so, and gave no sign of life since.
 */
export interface Signs extends Silence {
  blind: boolean;
  observed_until: number;
  heartbeat_s: number | null;
  stopped: boolean;
  back_in_s: number | null;
  lost: boolean;
}

/** Judge an instance; the first line that holds. */
export function stateOf(signs: Signs): State {
  const { blind, seen, observed_until, observed_since, heartbeat_s, stopped, back_in_s, lost } = signs;
  if (blind) return "unknown";
  if (seen === null) return "missing";
  if (lost) return "lost";
  if (stopped) {
    const absent =
      back_in_s === null ||
      observed_until <= Math.max(backAt(seen, back_in_s), observed_since) + RETURN_GRACE_MS;
    return absent ? "stopped" : "lost";
  }
  if (heartbeat_s === null) return "silent";
  const late = LATE_AFTER_BEATS * heartbeat_s * 1000;
  if (observed_until - seen <= late) return "alive";
  const silence = observed_until - Math.max(seen, observed_since);
  if (silence <= late) return "unknown";
  return silence <= LOST_AFTER_BEATS * heartbeat_s * 1000 ? "late" : "lost";
}

/** When an instance of this rhythm will be lost if nothing is heard of it. */
export function lostAt({ seen, observed_since }: Silence, heartbeat_s: number): number {
  return Math.max(seen ?? 0, observed_since) + LOST_AFTER_BEATS * heartbeat_s * 1000;
}

/** When an instance that said a planned goodbye at `seen` means to be back. */
export function backAt(seen: number, back_in_s: number): number {
  return seen + back_in_s * 1000;
}

/** Whether the process beats while its event loop does not answer. */
export function isStuck(state: State, lag_ms: number): boolean {
  return state === "alive" && lag_ms >= STUCK_MS;
}

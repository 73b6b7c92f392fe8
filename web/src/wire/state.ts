/**
 * The state rule of docs/reference/wire.md: the board's verdict on an instance.
 * spec/fixtures/state.json holds this module and the server to the same results.
 */

import type { InstanceView, State } from "./shapes";

export type { State };

/** Every state, the most severe first. */
export const STATES = [
  "lost",
  "late",
  "missing",
  "unknown",
  "alive",
  "silent",
  "stopped",
] as const satisfies readonly State[];

/** States that need attention. */
export const TROUBLE: ReadonlySet<State> = new Set(["lost", "late", "missing"]);

const LATE_AFTER_INTERVALS = 1.5;
const LOST_AFTER_INTERVALS = 2.5;
/** How long after the end of a planned absence an instance may still return. */
const RETURN_GRACE_MS = 5000;
/** An event loop that has not responded for this long is stuck; a shorter lag means it is busy. */
const STUCK_MS = 1000;

/** When an instance was last seen (null: never), and from when on its silence counts. */
export interface Silence {
  seen: number | null;
  observed_since: number;
}

/**
 * The input of the state rule. All times are ms by Redis' clock.
 * `observed_until`: the server has received every heartbeat up to this time.
 * `heartbeat_s` null: the instance declares no heartbeat interval.
 * `lost`: the instance was declared lost and has not been seen since.
 */
export interface StateInput
  extends Silence,
    Pick<InstanceView, "heartbeat_s" | "stopped" | "back_in_s" | "lost"> {
  blind: boolean;
  observed_until: number;
}

/** Return the state of an instance. The first condition that holds decides. */
export function stateOf(input: StateInput): State {
  const { blind, seen, observed_until, observed_since, heartbeat_s, stopped, back_in_s, lost } =
    input;
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
  const late_ms = LATE_AFTER_INTERVALS * heartbeat_s * 1000;
  if (observed_until - seen <= late_ms) return "alive";
  const silence_ms = observed_until - Math.max(seen, observed_since);
  if (silence_ms <= late_ms) return "unknown";
  return silence_ms <= LOST_AFTER_INTERVALS * heartbeat_s * 1000 ? "late" : "lost";
}

/** Return when an instance with this heartbeat interval becomes lost without another heartbeat. */
export function lostAt({ seen, observed_since }: Silence, heartbeat_s: number): number {
  return Math.max(seen ?? 0, observed_since) + LOST_AFTER_INTERVALS * heartbeat_s * 1000;
}

/** Return the planned return of an instance that stopped gracefully at `seen`. */
export function backAt(seen: number, back_in_s: number): number {
  return seen + back_in_s * 1000;
}

/** Return whether the process sends heartbeats while its event loop does not respond. */
export function isStuck(state: State, lag_ms: number): boolean {
  return state === "alive" && lag_ms >= STUCK_MS;
}

/** The page's words for states, faults and outcomes. */

import type { Outcome } from "../store/incidents";
import type { ConnectionFault } from "../stream/connection";
import type { State } from "../wire/state";

/** The order of the counts: running instances, then trouble, then states that need no action. */
export const ORDER: readonly State[] = [
  "alive",
  "late",
  "lost",
  "missing",
  "silent",
  "stopped",
  "unknown",
];

export const WORDS: Record<State, string> = {
  alive: "Alive",
  late: "Late",
  lost: "Lost",
  stopped: "Stopped",
  silent: "Silent",
  missing: "Missing",
  unknown: "Unknown",
};

export const MEANINGS: Record<State, string> = {
  alive: "Heartbeats arrive within the interval",
  late: "A heartbeat is overdue by half an interval",
  lost: "No heartbeat for two and a half intervals, or a missed planned return",
  stopped: "It stopped gracefully",
  silent: "It declares no heartbeat interval, so it cannot be late",
  missing: "Expected, not seen yet",
  unknown: "The board has no current data about it",
};

/** Why the connection to the server is lost. */
export const FAULTS: Record<ConnectionFault, string> = {
  ended: "The connection broke.",
  "no-answer": "The server does not respond.",
  refused: "The server refuses the stream.",
  silent: "The server sends nothing.",
  bye: "The server shut down.",
  offline: "This device is offline.",
};

export const OUTCOMES: Record<Outcome, string> = {
  lost: "Still lost",
  returned: "Returned",
  gone: "Off the board",
  unknown: "Unknown",
};

/** A count and its noun: `1 service`, `3 services`. */
export function countOf(n: number, noun: string): string {
  return `${n} ${noun}${n === 1 ? "" : "s"}`;
}

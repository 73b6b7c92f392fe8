/** The words for states, one place. */

import type { Outcome } from "../store/incidents";
import type { LinkFault } from "../stream/link";
import type { State } from "../wire/state";

/** The order in which counts are read: good news first, then trouble, then what needs nobody. */
export const ORDER: readonly State[] = ["alive", "late", "lost", "missing", "silent", "stopped", "unknown"];

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
  alive: "It beats in its rhythm",
  late: "A beat is overdue by half its rhythm",
  lost: "No beat for two and a half of its rhythms, or a planned return that was missed",
  stopped: "It said goodbye",
  silent: "It declares no rhythm, so its silence says nothing",
  missing: "Expected, not seen yet",
  unknown: "The board cannot see it at the moment",
};

/** Why the page has lost its server, after "what is shown is the last known". */
export const FAULTS: Record<LinkFault, string> = {
  ended: "The connection broke off.",
  "no-answer": "The server does not answer.",
  refused: "The server refuses the stream.",
  silent: "The server has fallen silent.",
  bye: "The server said goodbye.",
  offline: "This device is offline.",
};

export const OUTCOMES: Record<Outcome, string> = {
  lost: "Still lost",
  returned: "Returned",
  gone: "Off the board",
  unknown: "Unknown",
};

/** A count and what is counted: `1 service`, `3 services`. */
export function countOf(n: number, noun: string): string {
  return `${n} ${noun}${n === 1 ? "" : "s"}`;
}

/** The words for states, one place. */

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
  late: "A beat is overdue",
  lost: "No sign of life for more than four beats",
  stopped: "It said goodbye",
  silent: "It declares no rhythm, so its silence says nothing",
  missing: "Expected, not seen yet",
  unknown: "The board cannot see it at the moment",
};

/**
 * The latest time in which the board's servers heard no plain publishes: what was said then may be missing. Told while it
 * goes on and for an hour after, until somebody has read it, and only where somebody publishes plainly or nobody has yet.
 */

import { computed, signal } from "@preact/signals";
import type { CoverageGap } from "../wire/message";
import type { Board } from "./board";

const KEY = "pulseboard.deaf-read";
const TOLD_FOR_MS = 3_600_000;

export class Deafness {
  /** Up to when, by Redis' clock, it has been read. */
  private readonly read = signal(recall());
  readonly told = computed<CoverageGap | null>(() => {
    const { clock, sight } = this.board;
    const gap = sight.gap.value;
    // A board that sees nothing at all says that instead.
    if (gap === null || sight.dark.value || !this.concerned.value || gap.since < this.read.value) return null;
    return gap.until === null || clock.now.value - gap.until < TOLD_FOR_MS ? gap : null;
  });
  /** Whoever publishes plainly has no name for an instance, and nor has an expected service that was never seen. */
  private readonly concerned = computed(() => {
    const models = this.board.instances.value;
    return models.length === 0 || models.some((model) => model.instance === "");
  });

  constructor(private readonly board: Board) {}

  /** It was read: of this time, and of any part of it, nothing more is told. */
  dismiss(): void {
    const gap = this.told.peek();
    if (gap === null) return;
    this.read.value = (gap.until ?? Math.floor(this.board.clock.read())) + 1;
    try {
      sessionStorage.setItem(KEY, String(this.read.value));
    } catch {
      // Storage is off or full: it lasts as long as the page.
    }
  }
}

function recall(): number {
  try {
    return Number(sessionStorage.getItem(KEY)) || 0;
  } catch {
    return 0;
  }
}

/**
 * The note about the latest coverage gap: a period in which external messages may have been missed.
 * It is visible during the gap and for one hour after it, until the user dismisses it. It is hidden
 * if every instance uses the SDK, because a gap does not affect those.
 */

import { computed, signal } from "@preact/signals";
import type { CoverageGap } from "../wire/message";
import type { Board } from "./board";

const KEY = "pulseboard.coverage-gap-dismissed";
const VISIBLE_MS = 3_600_000;

export class CoverageGapNotice {
  /** Gaps that began before this time, by Redis' clock, are dismissed. */
  private readonly dismissedUntil = signal(restore());
  /** The gap that the note reports; null hides the note. */
  readonly visible = computed<CoverageGap | null>(() => {
    const { clock, freshness } = this.board;
    const gap = freshness.gap.value;
    // A stale board shows a banner instead.
    if (gap === null || freshness.stale.value || !this.affected.value) return null;
    if (gap.since < this.dismissedUntil.value) return null;
    return gap.until === null || clock.now.value - gap.until < VISIBLE_MS ? gap : null;
  });
  /**
   * Whether the board may lack an external message. External publishers do not name their
   * instance, and the placeholder of an expected service has no name either.
   */
  private readonly affected = computed(() => {
    const models = this.board.instances.value;
    return models.length === 0 || models.some((model) => model.instance === "");
  });

  constructor(private readonly board: Board) {}

  /** Hide the note for this gap and for every part of it. */
  dismiss(): void {
    const gap = this.visible.peek();
    if (gap === null) return;
    this.dismissedUntil.value = (gap.until ?? Math.floor(this.board.clock.read())) + 1;
    try {
      sessionStorage.setItem(KEY, String(this.dismissedUntil.value));
    } catch {
      // Storage is off or full: the dismissal lasts until the page is closed.
    }
  }
}

function restore(): number {
  try {
    return Number(sessionStorage.getItem(KEY)) || 0;
  } catch {
    return 0;
  }
}

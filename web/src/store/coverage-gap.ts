/**
 * The note about the latest coverage gap, a period in which no server received external messages.
 * The note is visible during the gap and for one hour after it, unless the user dismisses the note.
 * It is hidden if every instance uses the SDK, because a gap does not affect the SDK: it
 * appends its events to the feed itself.
 */

import { computed, signal } from "@preact/signals";
import type { CoverageGap } from "../wire/message";
import type { Board } from "./board";

const KEY = "pulseboard.coverage-gap-dismissed";
const VISIBLE_MS = 3_600_000;

export class CoverageGapNotice {
  /** The user has dismissed every gap that began before this time (ms by Redis' clock). */
  private readonly dismissedUntil = signal(restore());
  /** The gap that the note reports; null hides the note. */
  readonly visible = computed<CoverageGap | null>(() => {
    const { clock, freshness } = this.board;
    const gap = freshness.gap.value;
    // While the board is stale, the page shows a banner about that instead.
    if (gap === null || freshness.stale.value || !this.affected.value) return null;
    if (gap.since < this.dismissedUntil.value) return null;
    return gap.until === null || clock.now.value - gap.until < VISIBLE_MS ? gap : null;
  });
  /**
   * Whether the board may lack an external message: it has no instance, or one without a name. A
   * program without the SDK publishes without an instance name, and an expected service that was
   * never seen has a placeholder without a name.
   */
  private readonly affected = computed(() => {
    const models = this.board.instances.value;
    return models.length === 0 || models.some((model) => model.instance === "");
  });

  constructor(private readonly board: Board) {}

  /** Hide the note about this gap, also if a server later corrects the beginning of the gap. */
  dismiss(): void {
    const gap = this.visible.peek();
    if (gap === null) return;
    this.dismissedUntil.value = (gap.until ?? Math.floor(this.board.clock.read())) + 1;
    try {
      sessionStorage.setItem(KEY, String(this.dismissedUntil.value));
    } catch {
      // The browser's storage is disabled or full, so the note is back after a reload.
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

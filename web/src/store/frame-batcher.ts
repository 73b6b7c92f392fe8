/**
 * Decides when messages are applied to the board: at once under low load, which is fastest, and
 * once per animation frame under high load, so that rendering keeps up. A newer status of an
 * instance replaces one that is still pending. Invariant: the number of pending messages is
 * bounded.
 */

import type { Message } from "../wire/message";
import { keyOf } from "./instance";

/** Up to this many messages per window are applied in the task in which they arrive. */
const IMMEDIATE_PER_WINDOW = 25;
const WINDOW_MS = 100;
/** The browser gives a hidden page no animation frames. This timer replaces them. */
const HIDDEN_FLUSH_MS = 250;
const MAX_PENDING = 2000;

export class FrameBatcher {
  private readonly pending = new Map<string, Message>();
  private addedInWindow = 0;
  private windowEnds = 0;
  private cancelFlush: (() => void) | null = null;
  private serial = 0;

  constructor(private readonly apply: (messages: readonly Message[]) => void) {}

  add(message: Message): void {
    this.append(message);
    const now = performance.now();
    if (now >= this.windowEnds) {
      this.windowEnds = now + WINDOW_MS;
      this.addedInWindow = 0;
    }
    this.addedInWindow += 1;
    const immediate = this.cancelFlush === null && this.addedInWindow <= IMMEDIATE_PER_WINDOW;
    if (immediate || this.pending.size >= MAX_PENDING) this.flush();
    else this.cancelFlush ??= scheduleFlush(() => this.flush());
  }

  /** Apply all pending messages immediately. */
  flush(): void {
    this.cancelFlush?.();
    this.cancelFlush = null;
    const messages = [...this.pending.values()];
    this.pending.clear();
    if (messages.length > 0) this.apply(messages);
  }

  private append(message: Message): void {
    if (message.type === "board") this.dropSuperseded();
    this.serial += 1;
    const key =
      message.type === "status"
        ? keyOf(message.report.service, message.report.instance)
        : `#${this.serial}`;
    this.pending.delete(key); // the new message goes to the end of the map
    this.pending.set(key, message);
  }

  /** Drop the messages that a board replaces: all except the counts of skipped messages. */
  private dropSuperseded(): void {
    for (const [key, { type }] of this.pending) if (type !== "skipped") this.pending.delete(key);
  }
}

function scheduleFlush(flush: () => void): () => void {
  // The timer also covers a page that becomes hidden before its animation frame.
  const timer = setTimeout(flush, HIDDEN_FLUSH_MS);
  const frame = document.visibilityState === "hidden" ? 0 : requestAnimationFrame(flush);
  return () => {
    clearTimeout(timer);
    cancelAnimationFrame(frame);
  };
}

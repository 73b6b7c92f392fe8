/**
 * When messages reach the board: at once while few come, for then nothing is quicker; once per frame under load, so that
 * rendering keeps up. A newer status of an instance takes the place of one still waiting. Invariant: what waits is bounded.
 */

import type { Message } from "../wire/message";
import { keyOf } from "./instance";

/** So many messages within WINDOW_MS are applied in the task they came in. */
const BUDGET = 25;
const WINDOW_MS = 100;
/** A hidden page gets no frames. */
const HIDDEN_MS = 250;
const MAX_WAITING = 2000;

export class Pacer {
  private readonly waiting = new Map<string, Message>();
  private spent = 0;
  private windowEnds = 0;
  private cancel: (() => void) | null = null;
  private serial = 0;

  constructor(private readonly apply: (messages: readonly Message[]) => void) {}

  offer(message: Message): void {
    this.wait(message);
    const now = performance.now();
    if (now >= this.windowEnds) {
      this.windowEnds = now + WINDOW_MS;
      this.spent = 0;
    }
    this.spent += 1;
    if ((this.cancel === null && this.spent <= BUDGET) || this.waiting.size >= MAX_WAITING) this.flush();
    else this.cancel ??= schedule(() => this.flush());
  }

  /** Apply all that waits, now. */
  flush(): void {
    this.cancel?.();
    this.cancel = null;
    const messages = [...this.waiting.values()];
    this.waiting.clear();
    if (messages.length > 0) this.apply(messages);
  }

  private wait(message: Message): void {
    if (message.type === "board") this.supersede();
    this.serial += 1;
    const key =
      message.type === "status" ? keyOf(message.report.service, message.report.instance) : `#${this.serial}`;
    this.waiting.delete(key); // so that it takes its place in the order anew
    this.waiting.set(key, message);
  }

  /** A board replaces all that came before, except what was not told. */
  private supersede(): void {
    for (const [key, { type }] of this.waiting) if (type !== "skipped") this.waiting.delete(key);
  }
}

function schedule(flush: () => void): () => void {
  const timer = setTimeout(flush, HIDDEN_MS); // also when the page is hidden while it waits for its frame
  const frame = document.visibilityState === "hidden" ? 0 : requestAnimationFrame(flush);
  return () => {
    clearTimeout(timer);
    cancelAnimationFrame(frame);
  };
}

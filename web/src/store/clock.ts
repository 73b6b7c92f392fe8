/**
 * Redis' clock, as the page estimates it: the latest `now` from the server plus the time since.
 * All ages depend on the signal `now`. It changes once a second while the page is visible, and
 * with every `now` from the server.
 */

import { signal } from "@preact/signals";

const TICK_MS = 1000;
/** A `now` that is behind the estimate by less than this was delayed on the network. */
const MAX_DELAY_MS = 2000;

export class Clock {
  readonly now = signal(Date.now());
  private serverNow = Date.now();
  private measuredAt = performance.now();
  private timer: ReturnType<typeof setTimeout> | undefined;

  /**
   * Set the clock to the server's `now`. A small step backwards is ignored: it is network delay,
   * and ages must not jump back. `hard` accepts any step.
   */
  set(now: number, hard = false): void {
    const behind = this.read() - now;
    if (!hard && behind > 0 && behind < MAX_DELAY_MS) {
      this.now.value = this.read();
      return;
    }
    this.serverNow = now;
    this.measuredAt = performance.now();
    this.now.value = now;
  }

  /** Advance the clock to the time of an event, without an update of the ages. */
  advanceTo(time: number): void {
    if (time <= this.read()) return;
    this.serverNow = time;
    this.measuredAt = performance.now();
  }

  read(): number {
    return this.serverNow + (performance.now() - this.measuredAt);
  }

  /** Tick on whole seconds, except while the page is hidden. */
  start(): void {
    document.addEventListener("visibilitychange", this.tick);
    this.tick();
  }

  stop(): void {
    document.removeEventListener("visibilitychange", this.tick);
    clearTimeout(this.timer);
  }

  private readonly tick = (): void => {
    clearTimeout(this.timer);
    this.now.value = this.read();
    if (document.visibilityState !== "hidden") {
      this.timer = setTimeout(this.tick, TICK_MS - (this.now.value % TICK_MS));
    }
  };
}

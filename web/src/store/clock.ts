/**
 * Redis' clock as this page knows it: the latest `now` the server told, plus what has passed here since.
 * `now` is the one signal that all ages hang on; it ticks once a second while somebody looks, and with every `now` that is told.
 */

import { signal } from "@preact/signals";

const TICK_MS = 1000;
const LAG_MS = 2000;

export class Clock {
  readonly now = signal(Date.now());
  private told = Date.now();
  private at = performance.now();
  private timer: ReturnType<typeof setTimeout> | undefined;

  /**
   * Take the server's `now`. A little behind what is reckoned here, it was only long on its way: ages must not jump back.
   * `hard`: take it as it is.
   */
  set(now: number, hard = false): void {
    const behind = this.read() - now;
    if (!hard && behind > 0 && behind < LAG_MS) {
      this.now.value = this.read();
      return;
    }
    this.told = now;
    this.at = performance.now();
    this.now.value = now;
  }

  /** Learn from the time of an event: Redis' clock is at least there. It does not wake the ages. */
  reach(time: number): void {
    if (time <= this.read()) return;
    this.told = time;
    this.at = performance.now();
  }

  read(): number {
    return this.told + (performance.now() - this.at);
  }

  /** Tick, aligned to whole seconds, except while the page is hidden. */
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

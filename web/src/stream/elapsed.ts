/** A stopwatch that sees sleep: performance.now() stands still on some machines while they sleep, Date.now() may be set. */

export class Stopwatch {
  private tick = performance.now();
  private wall = Date.now();

  restart(): void {
    this.tick = performance.now();
    this.wall = Date.now();
  }

  /** The time since the last restart in ms, whichever clock says more. */
  get ms(): number {
    return Math.max(performance.now() - this.tick, Date.now() - this.wall);
  }
}

/**
 * A stopwatch that includes the time in which the machine sleeps. It reads two clocks, because
 * performance.now() stops during sleep on some machines and Date.now() can be set.
 */

export class Stopwatch {
  private monotonic = performance.now();
  private wall = Date.now();

  restart(): void {
    this.monotonic = performance.now();
    this.wall = Date.now();
  }

  /** The time since the last restart in ms: the larger of the two clocks' results. */
  get ms(): number {
    return Math.max(performance.now() - this.monotonic, Date.now() - this.wall);
  }
}

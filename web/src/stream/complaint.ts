/** Frames that could not be read: counted, and told on the console at most once in ten seconds. */

const QUIET_MS = 10_000;

export class Complaints {
  count = 0;
  private told = Number.NEGATIVE_INFINITY;

  add(event: string, error: unknown): void {
    this.count += 1;
    if (performance.now() - this.told < QUIET_MS) return;
    this.told = performance.now();
    console.warn(`Pulseboard dropped a frame it could not read (${event}; ${this.count} so far)`, error);
  }
}

/** Counts malformed frames and logs them to the console, at most once in 10 seconds. */

const LOG_INTERVAL_MS = 10_000;

export class DroppedFrames {
  count = 0;
  private loggedAt = Number.NEGATIVE_INFINITY;

  add(event: string, error: unknown): void {
    this.count += 1;
    if (performance.now() - this.loggedAt < LOG_INTERVAL_MS) return;
    this.loggedAt = performance.now();
    console.warn(
      `Pulseboard dropped a malformed frame (event ${event}; ${this.count} dropped so far)`,
      error,
    );
  }
}

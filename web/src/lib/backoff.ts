/** The wait before the next attempt to connect. */

const BASE_MS = 500;
const CAP_MS = 15_000;
/** The shortest wait. Without it, a random wait near 0 would repeat a refused request at once. */
const FLOOR_MS = 50;

/**
 * Return a random wait in ms between `FLOOR_MS` and a limit that doubles with each failure, up to
 * `CAP_MS`. The attempts of many clients spread evenly over this time, so a server that restarts
 * does not receive all of its clients at once. Source: "full jitter", AWS Architecture Blog, 2015.
 */
export function backoffMs(failures: number, random: () => number = Math.random): number {
  const ceiling = Math.min(CAP_MS, BASE_MS * 2 ** Math.min(failures, 10));
  return Math.max(FLOOR_MS, Math.round(random() * ceiling));
}

/** The wait before the next connection attempt. */

const BASE_MS = 500;
const CAP_MS = 15_000;
/** The shortest wait. Without it, a low random draw would hammer a server that refuses. */
const FLOOR_MS = 50;

/**
 * Draw a wait in ms with full jitter (AWS Architecture Blog, 2015). Attempts spread evenly, so a
 * server that restarts does not receive all of its clients at once.
 */
export function backoffMs(failures: number, random: () => number = Math.random): number {
  const ceiling = Math.min(CAP_MS, BASE_MS * 2 ** Math.min(failures, 10));
  return Math.max(FLOOR_MS, Math.round(random() * ceiling));
}

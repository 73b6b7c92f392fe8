/** How long to wait before the next try. */

const BASE_MS = 500;
const CAP_MS = 15_000;
/** No try comes sooner than this, or a refusing server would be hammered by a lucky draw. */
const FLOOR_MS = 50;

/** Draw a wait in ms with full jitter (AWS Architecture Blog, 2015): tries spread evenly, so servers do not come back to a storm. */
export function backoffMs(failures: number, random: () => number = Math.random): number {
  const ceiling = Math.min(CAP_MS, BASE_MS * 2 ** Math.min(failures, 10));
  return Math.max(FLOOR_MS, Math.round(random() * ceiling));
}

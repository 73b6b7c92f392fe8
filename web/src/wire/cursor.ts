/** Feed ids (`<ms>-<seq>`): the position of an event in the feed, and its time by Redis' clock. */

const ID = /^(\d+)-(\d+)$/;

/** Return the time of a feed id in ms since the epoch, or null if `id` is not a feed id. */
export function timeOf(id: string): number | null {
  const match = ID.exec(id);
  return match ? Number(match[1]) : null;
}

/** Return the smallest feed id after `id`. Text that is not a feed id is returned unchanged. */
export function idAfter(id: string): string {
  const match = ID.exec(id);
  return match ? `${match[1]}-${Number(match[2]) + 1}` : id;
}

/** Return whether `a` comes after `b` in the feed. Text that is not a feed id precedes all ids. */
export function isAfter(a: string, b: string): boolean {
  const left = ID.exec(a);
  const right = ID.exec(b);
  if (!left || !right) return left !== null;
  const differenceMs = Number(left[1]) - Number(right[1]);
  return differenceMs !== 0 ? differenceMs > 0 : Number(left[2]) > Number(right[2]);
}

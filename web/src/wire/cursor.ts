/** Feed ids (`<ms>-<seq>`): a position in the one order of all events, and the time by Redis' clock. */

const ID = /^(\d+)-(\d+)$/;

/** Read the time out of a feed id, in ms since the epoch; null when it is none. */
export function timeOf(id: string): number | null {
  const match = ID.exec(id);
  return match ? Number(match[1]) : null;
}

/** The id that comes right after this one, should there be one; what is none stays as it is. */
export function idAfter(id: string): string {
  const match = ID.exec(id);
  return match ? `${match[1]}-${Number(match[2]) + 1}` : id;
}

/** Whether `a` comes after `b` in the feed. An id that is none comes first. */
export function isAfter(a: string, b: string): boolean {
  const left = ID.exec(a);
  const right = ID.exec(b);
  if (!left || !right) return left !== null;
  const byTime = Number(left[1]) - Number(right[1]);
  return byTime !== 0 ? byTime > 0 : Number(left[2]) > Number(right[2]);
}

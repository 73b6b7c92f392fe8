/** The age of a time, which updates with the clock. Preact renders only if the text changes. */

import { useComputed, useSignal } from "@preact/signals";
import { useLayoutEffect } from "preact/hooks";
import { formatAge, formatFullTime, formatRelative } from "../lib/format";
import type { Clock } from "../store/clock";

interface Props {
  /** The time in ms since the epoch. */
  at: number;
  clock: Clock;
  /** The time may be in the future: show `in 5 min` as well as `5 min ago`. */
  ahead?: boolean;
}

export function Age({ at, clock, ahead = false }: Props) {
  const time = useSignal(at);
  useLayoutEffect(() => {
    time.value = at;
  }, [at, time]);
  const text = useComputed(() => (ahead ? formatRelative : formatAge)(time.value, clock.now.value));
  return (
    <time dateTime={formatIso(at)} title={formatFullTime(at)}>
      {text}
    </time>
  );
}

/** The largest time that a Date can hold; `toISOString` throws for a larger one. */
const MAX_DATE_MS = 8.64e15;

function formatIso(at: number): string {
  return Math.abs(at) <= MAX_DATE_MS ? new Date(at).toISOString() : "";
}

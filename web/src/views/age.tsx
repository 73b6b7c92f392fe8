/** Times that tick. Only the text hangs on the clock: a second that changes no word renders nothing. */

import { useComputed, useSignal } from "@preact/signals";
import { useLayoutEffect } from "preact/hooks";
import { formatAge, formatFullTime, formatRelative } from "../lib/format";
import type { Clock } from "../store/clock";

interface Props {
  at: number;
  clock: Clock;
  /** A time that may lie ahead, like the next run. */
  ahead?: boolean;
}

export function Age({ at, clock, ahead = false }: Props) {
  const time = useSignal(at);
  useLayoutEffect(() => {
    time.value = at;
  }, [at, time]);
  const text = useComputed(() => (ahead ? formatRelative : formatAge)(time.value, clock.now.value));
  return (
    <time dateTime={iso(at)} title={formatFullTime(at)}>
      {text}
    </time>
  );
}

function iso(at: number): string {
  return Math.abs(at) <= 8.64e15 ? new Date(at).toISOString() : "";
}

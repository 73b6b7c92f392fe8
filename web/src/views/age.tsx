/** Ages that update with the clock. A tick that does not change the text renders nothing. */

import { useComputed, useSignal } from "@preact/signals";
import { useLayoutEffect } from "preact/hooks";
import { formatAge, formatFullTime, formatRelative } from "../lib/format";
import type { Clock } from "../store/clock";

interface Props {
  at: number;
  clock: Clock;
  /** The time may be in the future, like the next run. */
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

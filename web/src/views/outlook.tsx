/** What is to be expected of an instance: a clock that runs down, or how long its event loop has been stuck. */

import { useComputed, useSignal } from "@preact/signals";
import { useLayoutEffect } from "preact/hooks";
import { formatCountdown, formatSince } from "../lib/format";
import type { Clock } from "../store/clock";
import type { InstanceModel, Outlook } from "../store/instance";

interface Props {
  model: InstanceModel;
  clock: Clock;
}

/** Beside a state that goes on; what an instance that has ended is waiting for stands as its headline. */
export function Notice({ model, clock }: Props) {
  const outlook = model.outlook.value;
  if (outlook === null || outlook.kind === "back") return null;
  return (
    <p class="card-notice" data-testid="outlook" data-kind={outlook.kind}>
      {outlook.kind === "stuck" ? (
        `event loop stuck for ${formatSince(0, outlook.lag_ms)}`
      ) : (
        <Countdown outlook={outlook} clock={clock} />
      )}
    </p>
  );
}

/** Only the text hangs on the clock, so a second renders nothing else. */
export function Countdown({
  outlook,
  clock,
}: {
  outlook: Exclude<Outlook, { kind: "stuck" }>;
  clock: Clock;
}) {
  const { kind, at } = outlook;
  const due = useSignal(at);
  useLayoutEffect(() => {
    due.value = at;
  }, [at, due]);
  const text = useComputed(() => {
    const left = due.value - clock.now.value;
    if (kind === "lost") return `lost in ${formatCountdown(left)}`;
    return left > 0 ? `Back in ${formatCountdown(left)}` : `Overdue by ${formatCountdown(-left)}`;
  });
  return <span role="timer">{text}</span>;
}

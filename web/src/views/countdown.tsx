/** The note beside the state of an instance: a countdown, or how long its event loop is stuck. */

import { useComputed, useSignal } from "@preact/signals";
import { useLayoutEffect } from "preact/hooks";
import { formatCountdown, formatSince } from "../lib/format";
import type { Clock } from "../store/clock";
import type { InstanceModel, StateNote } from "../store/instance";

interface Props {
  model: InstanceModel;
  clock: Clock;
}

/** The note of a running instance. The headline shows the countdown of one that has ended. */
export function StateNoteLine({ model, clock }: Props) {
  const note = model.stateNote.value;
  if (note === null || note.kind === "back") return null;
  return (
    <p class="card-state-note" data-testid="state-note" data-kind={note.kind}>
      {note.kind === "stuck" ? (
        `event loop stuck for ${formatSince(0, note.lag_ms)}`
      ) : (
        <Countdown note={note} clock={clock} />
      )}
    </p>
  );
}

/** Only the text depends on the clock, so a tick renders nothing else. */
export function Countdown({
  note,
  clock,
}: {
  note: Exclude<StateNote, { kind: "stuck" }>;
  clock: Clock;
}) {
  const { kind, at } = note;
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

/** The second line of a card: the activity of the instance or its end, and its name. */

import { useComputed } from "@preact/signals";
import { formatSince } from "../lib/format";
import type { Clock } from "../store/clock";
import type { InstanceModel } from "../store/instance";
import { Countdown } from "./countdown";
import { useFlash } from "./flash";

interface Props {
  model: InstanceModel;
  clock: Clock;
  /** The instance has ended, so its last activity is outdated. */
  ended: boolean;
  /** Show the name of the instance; in a group, the title of the card shows it. */
  named: boolean;
}

export function Headline({ model, clock, ended, named }: Props) {
  const active = model.activityKey.value !== "";
  const name = named ? model.instance : "";
  if (!ended && !active && name === "") return null;
  return (
    <div class="card-headline">
      {ended ? <End model={model} clock={clock} /> : active && <Activity model={model} />}
      {name !== "" && (
        <p class="card-instance" title={name}>
          <bdi>{name}</bdi>
        </p>
      )}
    </div>
  );
}

function Activity({ model }: { model: InstanceModel }) {
  const text = model.activityText.value;
  const flash = useFlash(text);
  return (
    <p class="card-activity" data-field={model.activityKey.value} data-idle={/^idle$/i.test(text)}>
      <bdi class="value" data-value data-flash={flash} title={text}>
        {text}
      </bdi>
    </p>
  );
}

function End({ model, clock }: { model: InstanceModel; clock: Clock }) {
  const note = model.stateNote.value;
  const text = useComputed(() => {
    const since = formatSince(model.seen.value ?? 0, clock.now.value);
    if (model.state.value === "lost") return `No heartbeat for ${since}`;
    return model.stopped.value ? `Ended ${since} ago` : `Last seen ${since} ago`;
  });
  return (
    <p class="card-activity card-end" data-testid="end">
      {note?.kind === "back" ? <Countdown note={note} clock={clock} /> : text}
    </p>
  );
}

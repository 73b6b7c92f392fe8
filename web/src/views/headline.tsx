/** The second line of a card: what its instance does, or since when it does nothing any more, and where it runs. */

import { useComputed } from "@preact/signals";
import { formatSince } from "../lib/format";
import type { Clock } from "../store/clock";
import type { InstanceModel } from "../store/instance";
import { useFlash } from "./flash";
import { Countdown } from "./outlook";

interface Props {
  model: InstanceModel;
  clock: Clock;
  /** It is no longer there: what it did last is not what it does. */
  ended: boolean;
  /** The name of the instance stands here, and not above. */
  named: boolean;
}

export function Headline({ model, clock, ended, named }: Props) {
  const doing = model.activityKey.value !== "";
  const name = named ? model.instance : "";
  if (!ended && !doing && name === "") return null;
  return (
    <div class="card-doing">
      {ended ? <End model={model} clock={clock} /> : doing && <Activity model={model} />}
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
  const outlook = model.outlook.value;
  const text = useComputed(() => {
    const since = formatSince(model.seen.value ?? 0, clock.now.value);
    if (model.state.value === "lost") return `No beat for ${since}`;
    return model.stopped.value ? `Ended ${since} ago` : `Last seen ${since} ago`;
  });
  return (
    <p class="card-activity card-end" data-testid="end">
      {outlook?.kind === "back" ? <Countdown outlook={outlook} clock={clock} /> : text}
    </p>
  );
}

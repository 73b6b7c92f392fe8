/** The card of one instance: its state, its activity, the fields of its status, and its age. */

import { useState } from "preact/hooks";
import { formatInterval } from "../lib/format";
import type { Clock } from "../store/clock";
import type { InstanceModel } from "../store/instance";
import { Age } from "./age";
import { StateNoteLine } from "./countdown";
import { Field } from "./field";
import { Glyph } from "./glyph";
import { Headline } from "./headline";
import { MEANINGS, WORDS } from "./words";

/** Further rows are behind a button, so that a large status does not push other cards away. */
const MAX_ROWS = 14;

interface Props {
  model: InstanceModel;
  clock: Clock;
  /** The card is in a group, whose heading names the service: the instance is the title. */
  grouped?: boolean;
}

export function Card({ model, clock, grouped = false }: Props) {
  const state = model.state.value;
  const missing = model.seen.value === null;
  const ended = model.ended.value !== null;
  const title = grouped ? model.instance || "unnamed" : model.service;
  return (
    <article
      class="card"
      data-testid="card"
      data-service={model.service}
      data-instance={model.instance}
      data-state={state}
      data-stuck={model.stuck.value}
      aria-label={`${model.service} ${model.instance}`.trim()}
    >
      <header class="card-head">
        {grouped ? (
          <h3 class="card-title card-title-instance" title={title}>
            {title}
          </h3>
        ) : (
          <h2 class="card-title" title={title}>
            {title}
          </h2>
        )}
        <p class="card-state" title={MEANINGS[state]}>
          <Glyph state={state} />
          {WORDS[state]}
        </p>
        <StateNoteLine model={model} clock={clock} />
      </header>
      {missing ? (
        <p class="card-note">expected, not seen yet</p>
      ) : (
        <>
          <Headline model={model} clock={clock} ended={ended} named={!grouped} />
          <Rows model={model} clock={clock} without={ended ? "" : model.activityKey.value} />
          <Foot model={model} clock={clock} />
        </>
      )}
    </article>
  );
}

/** Every field of the status except the one in the headline. */
function Rows({ model, clock, without }: { model: InstanceModel; clock: Clock; without: string }) {
  const [open, setOpen] = useState(false);
  const rows = model.fields.rows.value.filter((row) => row.path !== without);
  if (rows.length === 0) return without === "" ? <p class="card-note">empty status</p> : null;
  const shown = open ? rows : rows.slice(0, MAX_ROWS);
  return (
    <>
      <dl class="fields">
        {shown.map((row) => (
          <Field key={row.path} row={row} clock={clock} />
        ))}
      </dl>
      {rows.length > MAX_ROWS && (
        <button type="button" class="more" aria-expanded={open} onClick={() => setOpen(!open)}>
          {open ? "fewer fields" : `+${rows.length - MAX_ROWS} more fields`}
        </button>
      )}
    </>
  );
}

function Foot({ model, clock }: { model: InstanceModel; clock: Clock }) {
  const updated = model.updated.value;
  const seen = model.seen.value;
  const heartbeat_s = model.heartbeat_s.value;
  const gone =
    model.state.value === "late" || model.state.value === "lost" || model.state.value === "unknown";
  return (
    <footer class="card-foot">
      {gone && seen !== null ? (
        <span>
          last seen <Age at={seen} clock={clock} />
        </span>
      ) : (
        updated !== null && (
          <span>
            updated <Age at={updated} clock={clock} />
          </span>
        )
      )}
      <span class="card-interval">
        {heartbeat_s === null ? "no heartbeat" : `heartbeat: ${formatInterval(heartbeat_s)}`}
      </span>
    </footer>
  );
}

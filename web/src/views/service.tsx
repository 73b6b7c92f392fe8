/** The instances of one service: a single card, or a group with a heading. */

import { useState } from "preact/hooks";
import type { ServiceView } from "../store/arrange";
import type { Clock } from "../store/clock";
import type { InstanceModel } from "../store/instance";
import type { State } from "../wire/state";
import { Card } from "./card";
import { Glyph } from "./glyph";
import { ORDER, WORDS } from "./words";

interface Props {
  view: ServiceView;
  clock: Clock;
  /** Show collapsed instances too, because a filter is active. */
  expand: boolean;
}

export function Single({ view, clock, expand }: Props) {
  return (
    <section class="cell" aria-label={view.service}>
      {view.shown.map((model) => (
        <Card key={model.key} model={model} clock={clock} />
      ))}
      <Collapsed models={view.collapsed} clock={clock} expand={expand} />
    </section>
  );
}

export function Group({ view, clock, expand }: Props) {
  return (
    <section
      class="group"
      aria-label={view.service}
      data-testid="group"
      data-service={view.service}
    >
      <header class="group-head">
        <h2 class="group-title">{view.service}</h2>
        <ul class="group-counts">
          {ORDER.filter((state) => view.counts.has(state)).map((state) => (
            <li key={state} data-state={state}>
              <Glyph state={state} />
              {view.counts.get(state)} {WORDS[state].toLowerCase()}
            </li>
          ))}
        </ul>
      </header>
      <div class="grid">
        {view.shown.map((model) => (
          <Card key={model.key} model={model} clock={clock} grouped />
        ))}
      </div>
      <Collapsed models={view.collapsed} clock={clock} expand={expand} />
    </section>
  );
}

function Collapsed({
  models,
  clock,
  expand,
}: {
  models: readonly InstanceModel[];
  clock: Clock;
  expand: boolean;
}) {
  const [open, setOpen] = useState(false);
  if (models.length === 0) return null;
  const shown = open || expand;
  return (
    <div class="collapsed">
      <button type="button" class="more" aria-expanded={shown} onClick={() => setOpen(!open)}>
        <Ended models={models} />
      </button>
      {shown && (
        <div class="grid">
          {models.map((model) => (
            <Card key={model.key} model={model} clock={clock} grouped />
          ))}
        </div>
      )}
    </div>
  );
}

function Ended({ models }: { models: readonly InstanceModel[] }) {
  const count = (state: State) => models.filter((model) => model.state.value === state).length;
  const states = (["lost", "stopped"] as const).filter((state) => count(state) > 0);
  return (
    <>
      {models.length} ended {models.length === 1 ? "instance" : "instances"}
      {states.map((state) => (
        <span class="ended" key={state} data-state={state}>
          <Glyph state={state} />
          {count(state)} {WORDS[state].toLowerCase()}
        </span>
      ))}
    </>
  );
}

/** The order of the board: which instances lead, which stand together, which have ended. */

import { ENDED, type State } from "../wire/state";
import type { InstanceModel } from "./instance";

/** Up to so many ended instances of a service stand open below its live ones. */
const FEW = 2;
/** Up to so many lost ones of a service that several live ones are left of; the latest of them. */
const MOST_LOST = 6;

const NOBODY: ReadonlySet<string> = new Set();

export interface ServiceView {
  service: string;
  /** Several of its instances are in view: it has a heading, under which they stand. */
  group: boolean;
  /** Shown as cards, live ones first. Of a service that stopped altogether, the instance seen last. */
  shown: readonly InstanceModel[];
  /** Ended, folded away. */
  folded: readonly InstanceModel[];
  counts: ReadonlyMap<State, number>;
}

export interface Arrangement {
  /** What leads, a card each, wherever it belongs. */
  first: readonly ServiceView[];
  /** Everything else, in its lasting place. */
  rest: readonly ServiceView[];
}

/** Group instances, sorted by service, into services. Reads their states: call where that should be tracked. */
export function arrange(instances: readonly InstanceModel[], leading = NOBODY): Arrangement {
  const services = new Map<string, InstanceModel[]>();
  for (const model of instances) {
    const group = services.get(model.service);
    if (group) group.push(model);
    else services.set(model.service, [model]);
  }
  const first: ServiceView[] = [];
  const rest: ServiceView[] = [];
  for (const [service, models] of services) {
    const view = arrangeService(service, models);
    const leads = view.shown.filter((model) => leading.has(model.key));
    if (leads.length === 0) rest.push(view);
    else if (!view.group) first.push(view);
    else {
      for (const model of leads) first.push({ ...view, group: false, shown: [model], folded: [] });
      rest.push({ ...view, shown: view.shown.filter((model) => !leading.has(model.key)) });
    }
  }
  return { first, rest };
}

function arrangeService(service: string, models: readonly InstanceModel[]): ServiceView {
  const live = models.filter((model) => !ENDED.has(model.state.value));
  const ended = models.filter((model) => ENDED.has(model.state.value));
  const counts = new Map<State, number>();
  for (const model of models) counts.set(model.state.value, (counts.get(model.state.value) ?? 0) + 1);
  const open = new Set(live.length > 1 && ended.length <= FEW ? ended : inView(ended, live.length > 1));
  const shown = [...live, ...ended.filter((model) => open.has(model))];
  if (shown.length === 0)
    shown.push(ended.reduce((a, b) => ((b.seen.value ?? 0) > (a.seen.value ?? 0) ? b : a)));
  const folded = ended.filter((model) => !shown.includes(model));
  return { service, group: shown.length > 1, shown, folded, counts };
}

/** Whoever is lost stays in view, unless there are so many that they would bury the rest. */
function inView(ended: readonly InstanceModel[], many: boolean): InstanceModel[] {
  const lost = ended.filter((model) => model.state.value === "lost");
  if (lost.length <= FEW) return lost;
  return many ? lost.sort((a, b) => (b.seen.value ?? 0) - (a.seen.value ?? 0)).slice(0, MOST_LOST) : [];
}

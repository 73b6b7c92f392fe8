/** The order of the board: which instances stand together, which lead, which have ended. */

import { ENDED, type State } from "../wire/state";
import type { InstanceModel } from "./instance";

/** Up to so many ended instances of a service stand open below its live ones. */
const FEW = 2;

export interface ServiceView {
  service: string;
  /** Shown as cards, live ones first. Of a service that stopped altogether, the instance seen last. */
  shown: readonly InstanceModel[];
  /** Ended, folded away. */
  folded: readonly InstanceModel[];
  counts: ReadonlyMap<State, number>;
}

/** Group instances, sorted by service, into services. Reads their states: call where that should be tracked. */
export function arrange(instances: readonly InstanceModel[]): ServiceView[] {
  const services = new Map<string, InstanceModel[]>();
  for (const model of instances) {
    const group = services.get(model.service);
    if (group) group.push(model);
    else services.set(model.service, [model]);
  }
  return [...services].map(([service, models]) => arrangeService(service, models));
}

function arrangeService(service: string, models: readonly InstanceModel[]): ServiceView {
  const live = models.filter((model) => !ENDED.has(model.state.value));
  const ended = models.filter((model) => ENDED.has(model.state.value));
  const counts = new Map<State, number>();
  for (const model of models) counts.set(model.state.value, (counts.get(model.state.value) ?? 0) + 1);
  // Whoever is lost stays in view, unless there are so many that they would bury the rest.
  const lost = ended.filter((model) => model.state.value === "lost");
  const open = live.length > 1 && ended.length <= FEW ? ended : lost.length <= FEW ? lost : [];
  const shown = [...live, ...open];
  if (shown.length === 0)
    shown.push(ended.reduce((a, b) => ((b.seen.value ?? 0) > (a.seen.value ?? 0) ? b : a)));
  return { service, shown, folded: ended.filter((model) => !shown.includes(model)), counts };
}

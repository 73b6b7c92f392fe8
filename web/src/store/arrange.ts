/** The order of the board: which instances stand together, which lead, which have ended. */

import { ENDED, type State } from "../wire/state";
import type { InstanceModel } from "./instance";

/** Up to so many ended instances stand open below the live ones of a group. */
const FEW = 2;

export interface ServiceView {
  service: string;
  /** Shown as cards. Of a service that has ended altogether, the instance seen last. */
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
  if (live.length === 0) {
    const last = ended.reduce((a, b) => ((b.seen.value ?? 0) > (a.seen.value ?? 0) ? b : a));
    return { service, shown: [last], folded: ended.filter((model) => model !== last), counts };
  }
  const few = live.length > 1 && ended.length <= FEW;
  return { service, shown: few ? [...live, ...ended] : live, folded: few ? [] : ended, counts };
}

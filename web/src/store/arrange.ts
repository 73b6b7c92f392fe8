/** The order of the board: which instances lead, which stand together, which have ended. */

import type { State } from "../wire/state";
import type { InstanceModel } from "./instance";

/** From so many live instances on, a service has a heading. Two may be a restart that is under way: it must not move house for that. */
const MANY = 3;
/** Up to so many ended instances of a service stand open below its live ones. */
const FEW = 2;
/** Up to so many lost ones of a service stand open; the latest of them. */
const MOST_LOST = 6;
/** Up to so many of a service lead the board by themselves; when all of it is in trouble, its heading says more. */
const MOST_ALONE = 12;

export interface ServiceView {
  service: string;
  /** Shown as cards, live ones first. */
  shown: readonly InstanceModel[];
  /** Ended, folded away. */
  folded: readonly InstanceModel[];
  counts: ReadonlyMap<State, number>;
}

export interface Arrangement {
  /** A card each: services that run once or twice, and what leads, wherever it belongs. */
  cells: readonly ServiceView[];
  /** Services that run many times. */
  groups: readonly ServiceView[];
}

/**
 * Group instances, sorted by service, into services. Those of `leading` are in view, and before all others unless there
 * are so few services that everybody knows where to look. Reads their states: call where that should be tracked.
 */
export function arrange(
  instances: readonly InstanceModel[],
  leading: ReadonlySet<string>,
  few = 3,
): Arrangement {
  const services = new Map<string, InstanceModel[]>();
  for (const model of instances) {
    const group = services.get(model.service);
    if (group) group.push(model);
    else services.set(model.service, [model]);
  }
  const leads = (model: InstanceModel) => leading.has(model.key);
  const ordered = services.size > few;
  const cells: ServiceView[] = [];
  const groups: ServiceView[] = [];
  for (const [service, models] of services) {
    const counts = countStates(models);
    const place = (shown: readonly InstanceModel[], folded: readonly InstanceModel[] = []) => ({
      service,
      shown,
      folded,
      counts,
    });
    const { together, alone, folded } = divide(models, leads, ordered);
    if (together) groups.push(place(together, folded));
    cells.push(...alone.map((model, i) => place([model], i === 0 && !together ? folded : [])));
  }
  const before = (view: ServiceView) => ordered && view.shown.some(leads);
  return { cells: [...cells.filter(before), ...cells.filter((view) => !before(view))], groups };
}

interface Division {
  /** Under the heading of their service; null when it has none. */
  together: readonly InstanceModel[] | null;
  alone: readonly InstanceModel[];
  folded: readonly InstanceModel[];
}

function divide(
  models: readonly InstanceModel[],
  leads: (model: InstanceModel) => boolean,
  ordered: boolean,
): Division {
  const live = models.filter((model) => model.ended.value === null);
  const ended = models.filter((model) => model.ended.value !== null);
  const lost = ended.filter((model) => model.ended.value === "lost").sort((a, b) => seen(b) - seen(a));
  if (live.length >= MANY) {
    const open = new Set(ended.length <= FEW ? ended : lost.slice(0, MOST_LOST));
    const shown = [...live, ...ended.filter((model) => open.has(model))];
    const leaders = ordered ? shown.filter(leads) : [];
    const alone = leaders.slice(0, MOST_ALONE);
    const together = [
      ...leaders.slice(MOST_ALONE),
      ...(ordered ? shown.filter((model) => !leads(model)) : shown),
    ];
    return { together, alone, folded: ended.filter((model) => !open.has(model)) };
  }
  // What ended beside one that lives, or of those that ended altogether before the last, is past; a loss is news first.
  const open = new Set([...live, ...lost.filter(leads).slice(0, MOST_LOST)]);
  for (const model of ended) if (model.ended.value === "away") open.add(model);
  if (live.length === 0) open.add(ended.reduce((a, b) => (seen(b) > seen(a) ? b : a)));
  const alone = models.filter((model) => open.has(model));
  return { together: null, alone, folded: ended.filter((model) => !open.has(model)) };
}

function seen(model: InstanceModel): number {
  return model.seen.value ?? 0;
}

function countStates(models: readonly InstanceModel[]): ReadonlyMap<State, number> {
  const counts = new Map<State, number>();
  for (const model of models) counts.set(model.state.value, (counts.get(model.state.value) ?? 0) + 1);
  return counts;
}

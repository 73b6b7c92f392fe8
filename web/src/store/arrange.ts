/** The layout of the board: which instances are pinned, grouped or collapsed. */

import type { State } from "../wire/state";
import type { InstanceModel } from "./instance";

/**
 * A service with at least this many running instances is a group. Two may be a restart in progress,
 * and its cards must not move for that.
 */
const GROUP_MIN_RUNNING = 3;
/** Up to this many ended instances of a group are shown below its running ones. */
const MAX_SHOWN_ENDED = 2;
/** Up to this many lost instances of a service are shown, the latest first. */
const MAX_SHOWN_LOST = 6;
/** Up to this many pinned instances of a group get a cell. The heading of the group shows more. */
const MAX_PINNED_CELLS = 12;
/** With at most this many services, pinned instances stay in place: all cards are in view. */
const FEW_SERVICES = 3;

export interface ServiceView {
  service: string;
  /** Instances shown as cards, running ones first. */
  shown: readonly InstanceModel[];
  /** Ended instances behind a button. */
  collapsed: readonly InstanceModel[];
  counts: ReadonlyMap<State, number>;
}

export interface Arrangement {
  /** One card each: pinned instances, and services with one or two running instances. */
  cells: readonly ServiceView[];
  /** Services with many running instances. */
  groups: readonly ServiceView[];
}

/**
 * Arrange instances, which are sorted by service, into cells and groups. Pinned instances come
 * first unless there are only a few services. Reads signals of the instances, so callers track
 * them.
 */
export function arrange(
  instances: readonly InstanceModel[],
  pinned: ReadonlySet<string>,
  fewServices = FEW_SERVICES,
): Arrangement {
  const services = new Map<string, InstanceModel[]>();
  for (const model of instances) {
    const models = services.get(model.service);
    if (models) models.push(model);
    else services.set(model.service, [model]);
  }
  const isPinned = (model: InstanceModel) => pinned.has(model.key);
  const pinnedFirst = services.size > fewServices;
  const cells: ServiceView[] = [];
  const groups: ServiceView[] = [];
  for (const [service, models] of services) {
    const counts = countStates(models);
    const view = (
      shown: readonly InstanceModel[],
      collapsed: readonly InstanceModel[] = [],
    ): ServiceView => ({ service, shown, collapsed, counts });
    const { grouped, single, collapsed } = divide(models, isPinned, pinnedFirst);
    if (grouped) groups.push(view(grouped, collapsed));
    cells.push(...single.map((model, i) => view([model], i === 0 && !grouped ? collapsed : [])));
  }
  const comesFirst = (view: ServiceView) => pinnedFirst && view.shown.some(isPinned);
  return {
    cells: [...cells.filter(comesFirst), ...cells.filter((view) => !comesFirst(view))],
    groups,
  };
}

interface Division {
  /** Instances below the heading of their service; null if the service is no group. */
  grouped: readonly InstanceModel[] | null;
  single: readonly InstanceModel[];
  collapsed: readonly InstanceModel[];
}

function divide(
  models: readonly InstanceModel[],
  isPinned: (model: InstanceModel) => boolean,
  pinnedFirst: boolean,
): Division {
  const running = models.filter((model) => model.ended.value === null);
  const ended = models.filter((model) => model.ended.value !== null);
  const lost = ended
    .filter((model) => model.ended.value === "lost")
    .sort((a, b) => lastSeen(b) - lastSeen(a));
  if (running.length >= GROUP_MIN_RUNNING) {
    const open = new Set(ended.length <= MAX_SHOWN_ENDED ? ended : lost.slice(0, MAX_SHOWN_LOST));
    const shown = [...running, ...ended.filter((model) => open.has(model))];
    const first = pinnedFirst ? shown.filter(isPinned) : [];
    const single = first.slice(0, MAX_PINNED_CELLS);
    const grouped = [
      ...first.slice(MAX_PINNED_CELLS),
      ...(pinnedFirst ? shown.filter((model) => !isPinned(model)) : shown),
    ];
    return { grouped, single, collapsed: ended.filter((model) => !open.has(model)) };
  }
  // Show running instances, recent losses and planned absences. If none runs, show the instance
  // that ended last. Collapse all others.
  const open = new Set([...running, ...lost.filter(isPinned).slice(0, MAX_SHOWN_LOST)]);
  for (const model of ended) if (model.ended.value === "away") open.add(model);
  if (running.length === 0) open.add(ended.reduce((a, b) => (lastSeen(b) > lastSeen(a) ? b : a)));
  const single = models.filter((model) => open.has(model));
  return { grouped: null, single, collapsed: ended.filter((model) => !open.has(model)) };
}

function lastSeen(model: InstanceModel): number {
  return model.seen.value ?? 0;
}

function countStates(models: readonly InstanceModel[]): ReadonlyMap<State, number> {
  const counts = new Map<State, number>();
  for (const model of models)
    counts.set(model.state.value, (counts.get(model.state.value) ?? 0) + 1);
  return counts;
}

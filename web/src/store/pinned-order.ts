/**
 * The pinned instances, which come first on the board. An instance is pinned while it is in trouble
 * (lost, late, missing or stuck) and for 30 seconds afterwards, so that a card whose state changes
 * often does not move each time. If another instance of the same service runs, the trouble of a
 * lost instance ends 2 minutes after the loss. While the board is stale, no instance is pinned or
 * unpinned.
 */

import { computed, type ReadonlySignal } from "@preact/signals";
import { TROUBLE } from "../wire/state";
import type { Clock } from "./clock";
import type { FreshnessModel } from "./freshness";
import type { InstanceModel } from "./instance";

const PINNED_AFTER_TROUBLE_MS = 30_000;
const LOSS_IS_TROUBLE_MS = 120_000;

export class PinnedOrder {
  /** The keys of the pinned instances. The signal keeps its set object while no key changes. */
  readonly keys: ReadonlySignal<ReadonlySet<string>>;
  /** Key of an instance -> the time by Redis' clock (ms) at which the instance is unpinned. */
  private readonly pinnedUntil = new Map<string, number>();

  constructor(
    instances: ReadonlySignal<readonly InstanceModel[]>,
    freshness: FreshnessModel,
    clock: Clock,
  ) {
    let last: ReadonlySet<string> = new Set();
    this.keys = computed(() => {
      const models = instances.value;
      if (!freshness.stale.value) this.update(models, clock.now.value);
      const next = models.map((model) => model.key).filter((key) => this.pinnedUntil.has(key));
      if (next.length !== last.size || next.some((key) => !last.has(key))) last = new Set(next);
      return last;
    });
  }

  private update(models: readonly InstanceModel[], now: number): void {
    const runningServices = new Set(
      models.filter((model) => model.ended.value === null).map((model) => model.service),
    );
    for (const model of models) {
      const lostAt = runningServices.has(model.service) ? model.lostAt.value : null;
      const wasLostLongAgo = lostAt !== null && now - lostAt > LOSS_IS_TROUBLE_MS;
      const inTrouble = (TROUBLE.has(model.state.value) && !wasLostLongAgo) || model.stuck.value;
      if (inTrouble) this.pinnedUntil.set(model.key, now + PINNED_AFTER_TROUBLE_MS);
      else if ((this.pinnedUntil.get(model.key) ?? now) <= now) this.pinnedUntil.delete(model.key);
    }
    if (this.pinnedUntil.size > models.length) {
      const known = new Set(models.map((model) => model.key));
      for (const key of this.pinnedUntil.keys()) if (!known.has(key)) this.pinnedUntil.delete(key);
    }
  }
}

/**
 * Who leads the board: whoever is in trouble, and for a while after, so that a card that flaps does not jump about. A loss
 * that others of its service outlived leads as long as it is news. While nothing can be seen, the order stays as it is.
 */

import { computed, type ReadonlySignal } from "@preact/signals";
import { TROUBLE } from "../wire/state";
import type { Clock } from "./clock";
import type { InstanceModel } from "./instance";
import type { Sight } from "./sight";

const CALM_MS = 30_000;
const NEWS_MS = 120_000;

export class Lead {
  /** Keys of the instances that lead; another set only when another instance does. */
  readonly keys: ReadonlySignal<ReadonlySet<string>>;
  private readonly until = new Map<string, number>();

  constructor(instances: ReadonlySignal<readonly InstanceModel[]>, sight: Sight, clock: Clock) {
    let last: ReadonlySet<string> = new Set();
    this.keys = computed(() => {
      const models = instances.value;
      if (!sight.dark.value) this.weigh(models, clock.now.value);
      const next = models.map((model) => model.key).filter((key) => this.until.has(key));
      if (next.length !== last.size || next.some((key) => !last.has(key))) last = new Set(next);
      return last;
    });
  }

  private weigh(models: readonly InstanceModel[], now: number): void {
    const living = new Set(
      models.filter((model) => model.ended.value === null).map((model) => model.service),
    );
    for (const model of models) {
      const lostAt = living.has(model.service) ? model.lostAt.value : null;
      const past = lostAt !== null && now - lostAt > NEWS_MS;
      const troubled = (TROUBLE.has(model.state.value) && !past) || model.stuck.value;
      if (troubled) this.until.set(model.key, now + CALM_MS);
      else if ((this.until.get(model.key) ?? now) <= now) this.until.delete(model.key);
    }
    if (this.until.size > models.length) {
      const known = new Set(models.map((model) => model.key));
      for (const key of this.until.keys()) if (!known.has(key)) this.until.delete(key);
    }
  }
}

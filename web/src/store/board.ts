/** All that is known: applies messages, one after the other, and keeps services and instances in a lasting order. */

import { batch, computed, signal } from "@preact/signals";
import type { BoardMessage, LifecycleMessage, Message } from "../wire/message";
import { STATES, type State, TROUBLE } from "../wire/state";
import { Clock } from "./clock";
import { InstanceModel, keyOf } from "./instance";
import { Lead } from "./lead";
import { Losses } from "./losses";
import { Sight } from "./sight";

/** Restarts leave ended instances behind; a page that is open for months must not keep them all. */
const MAX_INSTANCES = 2000;

export interface Facts {
  version: string;
  insecure: boolean;
}

export class Board {
  readonly clock = new Clock();
  readonly sight = new Sight();
  /** null until the first board has come. */
  readonly facts = signal<Facts | null>(null);
  readonly instances = signal<readonly InstanceModel[]>([]);
  readonly losses = new Losses();
  readonly lead = new Lead(this.instances, this.sight, this.clock);
  /** Frames that could not be read. */
  readonly dropped = signal(0);
  /** Messages that this page was too slow for. */
  readonly skipped = signal(0);
  private readonly byKey = new Map<string, InstanceModel>();
  /** Services that were expected, in the order in which they were named, lead. */
  private rank = new Map<string, number>();

  readonly counts = computed(() => {
    const counts = Object.fromEntries(STATES.map((state) => [state, 0])) as Record<State, number>;
    for (const model of this.instances.value) counts[model.state.value] += 1;
    return counts;
  });
  readonly trouble = computed(() =>
    STATES.reduce((n, state) => n + (TROUBLE.has(state) ? this.counts.value[state] : 0), 0),
  );

  /** Apply messages in their order; views see the outcome of all of them at once. */
  apply(messages: readonly Message[]): void {
    batch(() => {
      for (const message of messages) this.take(message);
    });
  }

  /** The instance of this name, if it is on the board. Tracks who is. */
  find(service: string, instance: string): InstanceModel | undefined {
    this.instances.value;
    return this.byKey.get(keyOf(service, instance));
  }

  private take(message: Message): void {
    switch (message.type) {
      case "board":
        this.replace(message);
        return;
      case "status": {
        const { report } = message;
        this.clock.reach(report.seen);
        this.model(report.service, report.instance).apply(report);
        return;
      }
      case "heartbeats":
        this.clock.set(message.now);
        this.sight.observedUntil.value = message.observed_until;
        for (const beat of message.heartbeats) this.byKey.get(keyOf(beat.service, beat.instance))?.beat(beat);
        return;
      case "ping":
        this.clock.set(message.now);
        this.sight.look(message);
        return;
      case "lifecycle":
        this.follow(message);
        return;
      case "skipped": // the board that follows says what is the case; between now and then nothing does
        this.skipped.value += message.count;
        this.sight.told.value = false;
        return;
      case "reset":
      case "bye":
        this.sight.told.value = false;
        return;
    }
  }

  /** What became of an instance. What a later server may tell is none of ours. */
  private follow({ id, service, instance, event, incident }: LifecycleMessage): void {
    const model = this.byKey.get(keyOf(service, instance));
    if (event === "lost" && incident !== null) {
      this.losses.add(incident);
      model?.declareLost(incident.seen);
    } else if (event === "gone" && model?.isBefore(id)) {
      this.byKey.delete(model.key);
      this.expectAgain(service);
      this.publish();
    }
  }

  /** An expected service that nothing is left of is missing. */
  private expectAgain(service: string): void {
    if (!this.rank.has(service)) return;
    for (const model of this.byKey.values()) if (model.service === service) return;
    this.add(service, "");
  }

  private replace(message: BoardMessage): void {
    const { now, version, insecure, expect, instances, incidents } = message;
    this.clock.set(now, this.facts.peek() === null);
    this.facts.value = { version, insecure };
    this.rank = new Map(expect.map((service, i) => [service, i]));
    const seen = new Set(instances.map((next) => next.service));
    const keep = new Set([
      ...instances.map((next) => keyOf(next.service, next.instance)),
      ...expect.filter((service) => !seen.has(service)).map((service) => keyOf(service, "")),
    ]);
    for (const key of this.byKey.keys()) if (!keep.has(key)) this.byKey.delete(key);
    for (const next of instances) this.add(next.service, next.instance).restore(next);
    for (const service of expect) {
      if (seen.has(service)) continue;
      // It was known and is not any more: what it said before went with it.
      if (this.byKey.get(keyOf(service, ""))?.seen.peek() !== null) this.byKey.delete(keyOf(service, ""));
      this.add(service, "");
    }
    this.losses.replace(incidents);
    this.sight.look(message);
    this.publish();
  }

  private model(service: string, instance: string): InstanceModel {
    const known = this.byKey.get(keyOf(service, instance));
    if (known) return known;
    const placeholder = this.byKey.get(keyOf(service, ""));
    if (placeholder?.seen.peek() === null) this.byKey.delete(placeholder.key);
    const model = this.add(service, instance);
    this.bound();
    this.publish();
    return model;
  }

  private add(service: string, instance: string): InstanceModel {
    const key = keyOf(service, instance);
    const model = this.byKey.get(key) ?? new InstanceModel(service, instance, this.sight);
    this.byKey.set(key, model);
    return model;
  }

  /** Let go of the one not seen for longest. */
  private bound(): void {
    if (this.byKey.size <= MAX_INSTANCES) return;
    const age = (model: InstanceModel) => model.seen.peek() ?? Number.POSITIVE_INFINITY;
    const oldest = [...this.byKey.values()].reduce((a, b) => (age(b) < age(a) ? b : a));
    this.byKey.delete(oldest.key);
  }

  private publish(): void {
    const rank = (model: InstanceModel) => this.rank.get(model.service) ?? this.rank.size;
    this.instances.value = [...this.byKey.values()].sort(
      (a, b) => rank(a) - rank(b) || compare(a.service, b.service) || compare(a.instance, b.instance),
    );
  }
}

const natural = new Intl.Collator("en", { numeric: true });

function compare(a: string, b: string): number {
  return natural.compare(a, b) || (a < b ? -1 : a > b ? 1 : 0);
}

/** The board: applies messages in order and keeps services and instances in a stable order. */

import { batch, computed, signal } from "@preact/signals";
import type { BoardMessage, LifecycleMessage, Message } from "../wire/message";
import { STATES, type State, TROUBLE } from "../wire/state";
import { Clock } from "./clock";
import { FreshnessModel } from "./freshness";
import { InstanceModel, keyOf } from "./instance";
import { PinnedOrder } from "./pinned-order";
import { RecentIncidents } from "./recent-incidents";

/** Each restart leaves an ended instance. This bound is for a page that is open for months. */
const MAX_INSTANCES = 2000;

/** The properties of the server. */
export interface Facts {
  version: string;
  /** The server accepts connections from other machines, without a login. */
  insecure: boolean;
}

export class Board {
  readonly clock = new Clock();
  readonly freshness = new FreshnessModel();
  /** null until the first board message has arrived. */
  readonly facts = signal<Facts | null>(null);
  readonly instances = signal<readonly InstanceModel[]>([]);
  readonly recentIncidents = new RecentIncidents();
  readonly pinned = new PinnedOrder(this.instances, this.freshness, this.clock);
  /** The number of frames that this page dropped because they were malformed. */
  readonly dropped = signal(0);
  /** The number of messages that the server skipped because this page was too slow. */
  readonly skipped = signal(0);
  private readonly byKey = new Map<string, InstanceModel>();
  /** Expected service -> its position in the server's setting. Expected services come first. */
  private rank = new Map<string, number>();

  /** The number of instances in each state. */
  readonly counts = computed(() => {
    const counts = Object.fromEntries(STATES.map((state) => [state, 0])) as Record<State, number>;
    for (const model of this.instances.value) counts[model.state.value] += 1;
    return counts;
  });
  /** The number of instances that need attention. */
  readonly trouble = computed(() =>
    STATES.reduce((n, state) => n + (TROUBLE.has(state) ? this.counts.value[state] : 0), 0),
  );

  /** Apply messages in order. Views see the result of all of them at once. */
  apply(messages: readonly Message[]): void {
    batch(() => {
      for (const message of messages) this.applyOne(message);
    });
  }

  /** Return an instance by its name, if it is on the board. */
  find(service: string, instance: string): InstanceModel | undefined {
    // Read the signal, so that the caller runs again when the list of instances changes.
    this.instances.value;
    return this.byKey.get(keyOf(service, instance));
  }

  private applyOne(message: Message): void {
    switch (message.type) {
      case "board":
        this.replace(message);
        return;
      case "status": {
        const { report } = message;
        this.clock.advanceTo(report.seen);
        this.model(report.service, report.instance).apply(report);
        return;
      }
      case "heartbeats":
        this.clock.set(message.now);
        this.freshness.observedUntil.value = message.observed_until;
        for (const heartbeat of message.heartbeats)
          this.byKey.get(keyOf(heartbeat.service, heartbeat.instance))?.applyHeartbeat(heartbeat);
        return;
      case "ping":
        this.clock.set(message.now);
        this.freshness.update(message);
        return;
      case "lifecycle":
        this.applyLifecycle(message);
        return;
      case "skipped": // the states are unknown until the next board arrives
        this.skipped.value += message.count;
        this.freshness.reported.value = false;
        return;
      case "reset":
      case "bye":
        this.freshness.reported.value = false;
        return;
    }
  }

  /** Apply a lifecycle event. An unknown event, which a newer server may send, is ignored. */
  private applyLifecycle({ id, service, instance, event, incident }: LifecycleMessage): void {
    const model = this.byKey.get(keyOf(service, instance));
    if (event === "lost" && incident !== null) {
      this.recentIncidents.add(incident);
      model?.declareLost(incident.seen);
    } else if (event === "gone" && model?.isBefore(id)) {
      this.byKey.delete(model.key);
      this.restorePlaceholder(service);
      this.updateInstances();
    }
  }

  /** If an expected service has no instance left, add its placeholder, whose state is missing. */
  private restorePlaceholder(service: string): void {
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
      // This unnamed instance has an old status if it was seen before: put a placeholder instead.
      if (this.byKey.get(keyOf(service, ""))?.seen.peek() !== null)
        this.byKey.delete(keyOf(service, ""));
      this.add(service, "");
    }
    this.recentIncidents.replace(incidents);
    this.freshness.update(message);
    this.updateInstances();
  }

  private model(service: string, instance: string): InstanceModel {
    const known = this.byKey.get(keyOf(service, instance));
    if (known) return known;
    const placeholder = this.byKey.get(keyOf(service, ""));
    if (placeholder?.seen.peek() === null) this.byKey.delete(placeholder.key);
    const model = this.add(service, instance);
    this.evictOldest();
    this.updateInstances();
    return model;
  }

  private add(service: string, instance: string): InstanceModel {
    const key = keyOf(service, instance);
    const model = this.byKey.get(key) ?? new InstanceModel(service, instance, this.freshness);
    this.byKey.set(key, model);
    return model;
  }

  /** If there are more than MAX_INSTANCES, remove the one that was seen least recently. */
  private evictOldest(): void {
    if (this.byKey.size <= MAX_INSTANCES) return;
    // A placeholder was never seen, and stays.
    const lastSeen = (model: InstanceModel) => model.seen.peek() ?? Number.POSITIVE_INFINITY;
    const oldest = [...this.byKey.values()].reduce((a, b) => (lastSeen(b) < lastSeen(a) ? b : a));
    this.byKey.delete(oldest.key);
  }

  private updateInstances(): void {
    const rank = (model: InstanceModel) => this.rank.get(model.service) ?? this.rank.size;
    this.instances.value = [...this.byKey.values()].sort(
      (a, b) =>
        rank(a) - rank(b) || compare(a.service, b.service) || compare(a.instance, b.instance),
    );
  }
}

/** Sorts numbers in names by value: `worker-2` before `worker-10`. */
const natural = new Intl.Collator("en", { numeric: true });

function compare(a: string, b: string): number {
  return natural.compare(a, b) || (a < b ? -1 : a > b ? 1 : 0);
}

/** One instance as the views watch it. A missing service stands as its unnamed instance, never seen. */

import { computed, type ReadonlySignal, type Signal, signal } from "@preact/signals";
import { readActivity } from "../lib/field";
import { isAfter } from "../wire/cursor";
import type { Instance } from "../wire/message";
import { aliveForMs, type State, stateOf } from "../wire/state";
import type { Clock } from "./clock";
import { Fields } from "./fields";
import type { Sight } from "./sight";

export class InstanceModel {
  readonly seen: Signal<number | null> = signal(null);
  readonly updated: Signal<number | null> = signal(null);
  readonly beat_s: Signal<number | null> = signal(null);
  readonly goodbye = signal(false);
  readonly activityKey = signal("");
  readonly activityText = signal("");
  readonly fields = new Fields();
  readonly state: ReadonlySignal<State>;
  private id = "";

  constructor(
    readonly service: string,
    readonly instance: string,
    clock: Clock,
    sight: Sight,
  ) {
    this.state = computed(() => {
      const seen = this.seen.value;
      const beat_s = this.beat_s.value;
      const now = clock.now.value;
      const state = stateOf({ blind: sight.dark.value, seen, now, beat_s, goodbye: this.goodbye.value });
      if ((state !== "late" && state !== "lost") || seen === null || beat_s === null) return state;
      // Silence that we or the server could not have heard through proves nothing: wait one full rhythm before judging.
      const since = sight.since.value;
      return seen < since && now - since <= aliveForMs(beat_s) ? "unknown" : state;
    });
  }

  get key(): string {
    return keyOf(this.service, this.instance);
  }

  /** Take what an event or a board says. What is older than what is known is a replay, and left out. */
  apply(next: Instance, replace: boolean): void {
    if (!replace && this.id !== "" && !isAfter(next.id, this.id)) return;
    const updated = Number(next.id.split("-")[0]);
    this.id = next.id;
    this.seen.value = replace ? next.seen : Math.max(next.seen, this.seen.peek() ?? 0);
    this.updated.value = updated;
    this.beat_s.value = next.beat_s;
    this.goodbye.value = next.goodbye;
    const activity = readActivity(next.status);
    this.activityKey.value = activity?.key ?? "";
    this.activityText.value = activity?.text ?? "";
    this.fields.apply(next.status);
  }

  beat(seen: number): void {
    if (seen > (this.seen.peek() ?? 0)) this.seen.value = seen;
  }
}

export function keyOf(service: string, instance: string): string {
  return `${service}/${instance}`;
}

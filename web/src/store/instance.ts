/** One instance as the views watch it. A missing service stands as its unnamed instance, never seen. */

import { computed, type ReadonlySignal, type Signal, signal } from "@preact/signals";
import { readActivity } from "../lib/field";
import { isAfter, timeOf } from "../wire/cursor";
import type { Heartbeat, Instance, Report } from "../wire/message";
import { backAt, isStuck, lostAt, type State, stateOf } from "../wire/state";
import { Fields } from "./fields";
import type { Sight } from "./sight";

/** What is to be expected of an instance, or known beside its state. Times by Redis' clock. */
export type Outlook =
  | { kind: "lost"; at: number }
  | { kind: "back"; at: number }
  | { kind: "stuck"; lag_ms: number };

export class InstanceModel {
  readonly seen: Signal<number | null> = signal(null);
  readonly updated: Signal<number | null> = signal(null);
  readonly heartbeat_s: Signal<number | null> = signal(null);
  readonly stopped = signal(false);
  readonly back_in_s: Signal<number | null> = signal(null);
  readonly lost = signal(false);
  readonly lag_ms = signal(0);
  readonly activityKey = signal("");
  readonly activityText = signal("");
  readonly fields = new Fields();
  readonly state: ReadonlySignal<State>;
  readonly stuck: ReadonlySignal<boolean>;
  /** It is not there any more, as far as is known: that does not change while nothing can be seen. */
  readonly ended: ReadonlySignal<"lost" | "stopped" | "away" | null>;
  /** When it was lost, as far as its rhythm or its plan tells; null while it is not. */
  readonly lostAt: ReadonlySignal<number | null>;
  readonly outlook: ReadonlySignal<Outlook | null>;
  private id = "";

  constructor(
    readonly service: string,
    readonly instance: string,
    sight: Sight,
  ) {
    this.state = computed(() =>
      stateOf({
        blind: sight.dark.value,
        seen: this.seen.value,
        observed_until: sight.observedUntil.value,
        observed_since: sight.observedSince.value,
        heartbeat_s: this.heartbeat_s.value,
        stopped: this.stopped.value,
        back_in_s: this.back_in_s.value,
        lost: this.lost.value,
      }),
    );
    this.stuck = computed(() => isStuck(this.state.value, this.lag_ms.value));
    this.ended = computed(() => {
      const state = this.state.value;
      if (state === "lost" || (state === "unknown" && this.lost.value)) return "lost";
      if (!this.stopped.value || state === "missing") return null;
      return this.back_in_s.value === null ? "stopped" : "away";
    });
    this.lostAt = computed(() => {
      const seen = this.seen.value;
      if (this.state.value !== "lost" || seen === null) return null;
      const back_in_s = this.stopped.value ? this.back_in_s.value : null;
      return back_in_s === null
        ? lostAt({ seen, observed_since: 0 }, this.heartbeat_s.value ?? 0)
        : backAt(seen, back_in_s);
    });
    this.outlook = computed(() => this.lookAhead(sight));
  }

  get key(): string {
    return keyOf(this.service, this.instance);
  }

  /** Take what an event says. What is not later than what is known is a replay, and left out. */
  apply(report: Report): void {
    if (this.id !== "" && !isAfter(report.id, this.id)) return;
    this.take(report);
    this.seen.value = Math.max(report.seen, this.seen.peek() ?? 0);
    this.lost.value = false;
  }

  /** Take what a board says, whatever was known. */
  restore(known: Instance): void {
    this.take(known);
    this.seen.value = known.seen;
    this.lost.value = known.lost;
    this.lag_ms.value = known.lag_ms;
  }

  beat({ seen, lag_ms }: Heartbeat): void {
    this.lag_ms.value = lag_ms;
    if (seen <= (this.seen.peek() ?? 0)) return;
    this.seen.value = seen;
    this.lost.value = false;
  }

  /** It was declared lost, last seen then; whoever was seen since is not. */
  declareLost(seen: number): void {
    if ((this.seen.peek() ?? 0) <= seen) this.lost.value = true;
  }

  /** Whether what is known was said before this event of the feed. */
  isBefore(id: string): boolean {
    return isAfter(id, this.id);
  }

  private take(report: Report): void {
    this.id = report.id;
    this.updated.value = timeOf(report.id);
    this.heartbeat_s.value = report.heartbeat_s;
    this.stopped.value = report.stopped;
    this.back_in_s.value = report.back_in_s;
    const activity = readActivity(report.status);
    this.activityKey.value = activity?.key ?? "";
    this.activityText.value = activity?.text ?? "";
    this.fields.apply(report.status);
  }

  private lookAhead(sight: Sight): Outlook | null {
    const state = this.state.value;
    const seen = this.seen.value;
    const heartbeat_s = this.heartbeat_s.value;
    const back_in_s = this.back_in_s.value;
    if (state === "late" && heartbeat_s !== null)
      return { kind: "lost", at: lostAt({ seen, observed_since: sight.observedSince.value }, heartbeat_s) };
    if (
      (state === "stopped" || state === "lost") &&
      seen !== null &&
      this.stopped.value &&
      back_in_s !== null
    )
      return { kind: "back", at: backAt(seen, back_in_s) };
    return this.stuck.value ? { kind: "stuck", lag_ms: this.lag_ms.value } : null;
  }
}

export function keyOf(service: string, instance: string): string {
  return `${service}/${instance}`;
}

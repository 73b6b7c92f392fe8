/**
 * One instance as signals. The placeholder of a missing service is an unnamed instance that was
 * never seen.
 */

import { computed, type ReadonlySignal, type Signal, signal } from "@preact/signals";
import { findActivity } from "../lib/field";
import { isAfter, timeOf } from "../wire/cursor";
import type { Heartbeat, Instance, Report } from "../wire/message";
import { backAt, isStuck, lostAt, type State, stateOf } from "../wire/state";
import { Fields } from "./fields";
import type { FreshnessModel } from "./freshness";

/**
 * The note beside the state of an instance. `lost`, `back`: a countdown to a time by Redis' clock.
 * `stuck`: the event loop has not responded for `lag_ms`.
 */
export type StateNote =
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
  /** Why the instance no longer runs; null if it does. A stale board keeps the last value. */
  readonly ended: ReadonlySignal<"lost" | "stopped" | "away" | null>;
  /** When it was lost, by its heartbeat interval or planned return; null if it is not. */
  readonly lostAt: ReadonlySignal<number | null>;
  readonly stateNote: ReadonlySignal<StateNote | null>;
  private id = "";

  constructor(
    readonly service: string,
    readonly instance: string,
    freshness: FreshnessModel,
  ) {
    this.state = computed(() =>
      stateOf({
        blind: freshness.stale.value,
        seen: this.seen.value,
        observed_until: freshness.observedUntil.value,
        observed_since: freshness.observedSince.value,
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
    this.stateNote = computed(() => this.computeNote(freshness));
  }

  get key(): string {
    return keyOf(this.service, this.instance);
  }

  /** Apply a status event. A replayed event, which is not newer than the known one, is ignored. */
  apply(report: Report): void {
    if (this.id !== "" && !isAfter(report.id, this.id)) return;
    this.store(report);
    this.seen.value = Math.max(report.seen, this.seen.peek() ?? 0);
    this.lost.value = false;
  }

  /** Replace all that is known with the instance in a board. */
  restore(known: Instance): void {
    this.store(known);
    this.seen.value = known.seen;
    this.lost.value = known.lost;
    this.lag_ms.value = known.lag_ms;
  }

  applyHeartbeat({ seen, lag_ms }: Heartbeat): void {
    this.lag_ms.value = lag_ms;
    if (seen <= (this.seen.peek() ?? 0)) return;
    this.seen.value = seen;
    this.lost.value = false;
  }

  /** Apply the declaration that it was lost, unless it was seen after `seen`. */
  declareLost(seen: number): void {
    if ((this.seen.peek() ?? 0) <= seen) this.lost.value = true;
  }

  /** Return whether the known status is older than this event of the feed. */
  isBefore(id: string): boolean {
    return isAfter(id, this.id);
  }

  private store(report: Report): void {
    this.id = report.id;
    this.updated.value = timeOf(report.id);
    this.heartbeat_s.value = report.heartbeat_s;
    this.stopped.value = report.stopped;
    this.back_in_s.value = report.back_in_s;
    const activity = findActivity(report.status);
    this.activityKey.value = activity?.key ?? "";
    this.activityText.value = activity?.text ?? "";
    this.fields.apply(report.status);
  }

  private computeNote(freshness: FreshnessModel): StateNote | null {
    const state = this.state.value;
    const seen = this.seen.value;
    const heartbeat_s = this.heartbeat_s.value;
    const back_in_s = this.back_in_s.value;
    if (state === "late" && heartbeat_s !== null)
      return {
        kind: "lost",
        at: lostAt({ seen, observed_since: freshness.observedSince.value }, heartbeat_s),
      };
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

// Generated from src/pulseboard/wire by `python scripts/generate_shapes.py`; do not edit.

import type { Json, JsonObject } from "../lib/json";

/** Names that no service can have: they are channels of all services. */
export const RESERVED_NAMES = ["commands", "logs", "metrics"] as const;

/** Since when (ms by Redis' clock) and why the server cannot reach Redis. */
export interface BlindView {
  /** Milliseconds since the epoch, by Redis' clock. */
  since: number;
  reason: string;
}

/**
 * The data of a `board` event: all that the server knows.
 *
 * It replaces all that the client knew.
 */
export interface BoardView {
  blind: BlindView | null;
  /** Redis' time up to which every heartbeat has been reported to this client. */
  observed_until: number;
  /** Redis' time from which on silence proves a failure. */
  observed_since: number;
  /** The latest coverage gap. */
  gap: CoverageGapView | null;
  /** The time of the server's answer, in ms. */
  now: number;
  /**
   * How many instances published in the last hour and found no room on the full board. It
   * counts all services, also those that the client did not select; at most 10,000.
   */
  omitted: number;
  /** The interval of `ping` events, in seconds. */
  ping_s: number;
  version: string;
  insecure: boolean;
  expect: string[];
  instances: InstanceView[];
  /** The latest incidents, newest first. */
  incidents: Incident[];
}

/**
 * The data of a `bye` event: the server closes this stream.
 *
 * The frame's `retry` is the time after which to reconnect.
 */
export interface ByeView {
  reason: string;
}

/**
 * A command for some instances of a service; times are in ms by Redis' clock.
 *
 * An instance must start the command before `expires`. `by` is the user who sent the
 * command, and `origin` the address of the client; either is empty if it is not known.
 * `source` is the interface that received the command. `refused` is the reason why no
 * instance receives the command; it is empty if the command is not refused.
 */
export interface Command {
  command_id: string;
  service: string;
  command: string;
  instances: string[];
  args: JsonObject;
  issued: number;
  expires: number;
  by: string;
  source: "api" | "publish";
  origin: string;
  refused: string;
}

/**
 * A period in which no server was subscribed, so external messages may be missing.
 *
 * `since` and `until` are ms by Redis' clock; `until` is null while the gap continues.
 */
export interface CoverageGapView {
  /** Milliseconds since the epoch, by Redis' clock. */
  since: number;
  until: number | null;
}

/**
 * The value of a histogram: the total count and sum, and the extremes since the previous event.
 *
 * `buckets` are pairs of an upper bound and the total count of values up to it, as in
 * Prometheus.
 */
export interface Distribution {
  count: number;
  sum: number;
  min?: number;
  max?: number;
  buckets?: [number, number][];
}

/**
 * One heartbeat as `[service, instance, seen]`, with `lag_ms` as a fourth if it is not 0.
 *
 * `lag_ms` is how long the event loop of the instance has not answered.
 */
export type HeartbeatRow = [string, string, number, number?];

/**
 * The data of a `heartbeats` event, sent once a second, or more often for short intervals.
 *
 * `heartbeats` is empty when none arrived.
 */
export interface HeartbeatsView {
  /** The time of the server's answer, in ms. */
  now: number;
  /** Redis' time up to which every heartbeat has been reported to this client. */
  observed_until: number;
  heartbeats: HeartbeatRow[];
}

/**
 * One loss of an instance: its last sign of life, and when a server declared it lost.
 *
 * Both times are in ms by Redis' clock.
 */
export interface Incident {
  /** A feed id, `<ms>-<seq>`, by Redis' clock. */
  id: string;
  service: string;
  /** The name of one instance of the service; empty for an unnamed one. */
  instance: string;
  /** Milliseconds since the epoch, by Redis' clock. */
  seen: number;
  /** Milliseconds since the epoch, by Redis' clock. */
  declared: number;
  /** `silent` or `overdue`; later versions may add causes. */
  cause: string;
  heartbeat_s: number | null;
}

/** An incident with the last words of its instance. */
export interface IncidentView {
  /** A feed id, `<ms>-<seq>`, by Redis' clock. */
  id: string;
  service: string;
  /** The name of one instance of the service; empty for an unnamed one. */
  instance: string;
  /** Milliseconds since the epoch, by Redis' clock. */
  seen: number;
  /** Milliseconds since the epoch, by Redis' clock. */
  declared: number;
  /** `silent` or `overdue`; later versions may add causes. */
  cause: string;
  heartbeat_s: number | null;
  /** Milliseconds since the epoch, by the publisher's clock. */
  timestamp: number;
  status: JsonObject;
  /** A feed id, `<ms>-<seq>`, by Redis' clock. */
  last_id: string;
  /** The last lines of its log, in order. */
  lines: LineView[];
  /** Its last metrics by name; null if it had none. */
  metrics: Record<string, number | Distribution> | null;
}

/** The answer of `GET /api/incidents`: incidents with last words, newest first. */
export interface IncidentsView {
  incidents: IncidentView[];
}

/** An instance as the `board` event shows it, with its state. */
export interface InstanceStateView {
  service: string;
  /** Milliseconds since the epoch, by the publisher's clock. */
  timestamp: number;
  status: JsonObject;
  /** The name of one instance of the service; empty for an unnamed one. */
  instance: string;
  heartbeat_s: number | null;
  commands: string[];
  stopped: boolean;
  back_in_s: number | null;
  /** It was declared lost and has given no sign of life since. */
  lost: boolean;
  /** How long its event loop has not answered, in ms; 0: it answers. */
  lag_ms: number;
  /** A feed id, `<ms>-<seq>`, by Redis' clock. */
  id: string;
  /** Its last sign of life, in ms by Redis' clock. */
  seen: number;
  state: State;
}

/** The latest known of one instance: its last status event, and its last sign of life. */
export interface InstanceView {
  service: string;
  /** Milliseconds since the epoch, by the publisher's clock. */
  timestamp: number;
  status: JsonObject;
  /** The name of one instance of the service; empty for an unnamed one. */
  instance: string;
  heartbeat_s: number | null;
  commands: string[];
  stopped: boolean;
  back_in_s: number | null;
  /** It was declared lost and has given no sign of life since. */
  lost: boolean;
  /** How long its event loop has not answered, in ms; 0: it answers. */
  lag_ms: number;
  /** A feed id, `<ms>-<seq>`, by Redis' clock. */
  id: string;
  /** Its last sign of life, in ms by Redis' clock. */
  seen: number;
}

/**
 * A change of an instance: `event` is `lost`, with its incident, or `gone` from the board.
 *
 * A server passes a value of `event` that it does not know to its clients unchanged.
 */
export interface LifecycleEvent {
  service: string;
  /** The name of one instance of the service; empty for an unnamed one. */
  instance: string;
  /** Milliseconds since the epoch, by the publisher's clock. */
  timestamp: number;
  event: string;
  incident?: Incident;
  /** The name of one instance of the service; empty for an unnamed one. */
  replaced_by?: string;
}

/**
 * A log line with its id, as clients get it.
 *
 * A line without a `timestamp` gets the time at which it arrived. `dropped` is the number of
 * lines
 * of its instance that were dropped before it, in history; on the event stream the frame has
 * that
 * number instead.
 */
export interface LineView {
  level: "debug" | "info" | "warning" | "error" | "critical";
  message: string;
  logger?: string;
  fields?: JsonObject;
  traceback?: string;
  /** Milliseconds since the epoch, by the publisher's clock. */
  timestamp: number;
  /** The id of a log line: the feed id of its entry and its number in that entry. */
  id: string;
  dropped?: number;
}

/** The data of a `log` event: some lines of one instance, in order. */
export interface LogView {
  service: string;
  /** The name of one instance of the service; empty for an unnamed one. */
  instance: string;
  lines: LineView[];
  /** How many lines were lost before these. */
  dropped?: number;
}

/**
 * The data of a `metric` event.
 *
 * Without a `timestamp` of the publisher, it is the arrival time.
 */
export interface MetricView {
  service: string;
  metrics: Record<string, number | Distribution>;
  /** The names of the counters; other numbers are gauges. */
  kinds?: Record<string, "counter" | "gauge" | "histogram">;
  /** The name of one instance of the service; empty for an unnamed one. */
  instance: string;
  /** Milliseconds since the epoch, by the publisher's clock. */
  timestamp: number;
}

/** The data of a `ping` event: the server is running, and whether it can reach Redis. */
export interface PingView {
  blind: BlindView | null;
  /** Redis' time up to which every heartbeat has been reported to this client. */
  observed_until: number;
  /** Redis' time from which on silence proves a failure. */
  observed_since: number;
  /** The latest coverage gap. */
  gap: CoverageGapView | null;
  /** The time of the server's answer, in ms. */
  now: number;
  /**
   * How many instances published in the last hour and found no room on the full board. It
   * counts all services, also those that the client did not select; at most 10,000.
   */
  omitted: number;
}

/** The data of a `receipt` event: one step of a command at one instance. */
export interface ReceiptView {
  service: string;
  /** The name of one instance of the service; empty for an unnamed one. */
  instance: string;
  command_id: string;
  command: string;
  receipt: "accepted" | "done" | "expired" | "failed" | "received" | "refused";
  reason?: string;
  error?: string;
  result?: Json;
  duration_ms?: number;
  /** Milliseconds since the epoch, by Redis' clock. */
  timestamp: number;
}

/**
 * The data of a `reset` event: continuity was lost, and a `board` follows.
 *
 * The frame has no id: only the id of that board can be resumed from.
 */
export interface ResetView {
  reason: string;
}

/** A service. An expected one without instances is missing. */
export interface ServiceView {
  name: string;
  expected: boolean;
  instances: InstanceStateView[];
}

/**
 * The answer of `GET /api/services`: all services by name.
 *
 * While `blind`, states are `unknown`.
 */
export interface ServicesView {
  /** The time of the server's answer, in ms. */
  now: number;
  /** Redis' time up to which every heartbeat has been reported to this client. */
  observed_until: number;
  blind: BlindView | null;
  services: ServiceView[];
}

/**
 * The data of a `skipped` event: the client was too slow for these events, counted by kind.
 *
 * A `board` follows. The frame has no id: only the id of that board can be resumed from.
 */
export interface SkippedView {
  reason: string;
  skipped: Record<string, number>;
}

/** The verdict of the board on an instance (docs/reference/wire.md, "State"). */
export type State = "alive" | "late" | "lost" | "missing" | "silent" | "stopped" | "unknown";

/** The data of a `status` event. The time in the frame's id is the time it was seen. */
export interface StatusView {
  service: string;
  /** Milliseconds since the epoch, by the publisher's clock. */
  timestamp: number;
  status: JsonObject;
  /** The declared heartbeat interval in seconds. */
  heartbeat_s?: number;
  commands?: string[];
  stopped?: true;
  /** With `stopped`: the instance plans to return within this many seconds. */
  back_in_s?: number;
  /** The name of one instance of the service; empty for an unnamed one. */
  instance: string;
}

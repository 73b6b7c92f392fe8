/** The values of `GET /api/stream` and `GET /api/incidents`, specified in docs/reference/wire.md. */

import type { JsonObject } from "../lib/json";

/** The server cannot reach Redis since this time, so every state is unknown. */
export interface Blind {
  since: number;
  reason: string;
}

/**
 * A period, by Redis' clock, in which no server was subscribed: external messages published in it
 * may be missing. `until` is null while the gap lasts.
 */
export interface CoverageGap {
  since: number;
  until: number | null;
}

/** How current the server's knowledge is. All times are ms by Redis' clock. */
export interface Freshness {
  blind: Blind | null;
  /** The latest coverage gap. Older servers do not send it; it is null then. */
  gap: CoverageGap | null;
  /** The number of instances that do not fit on a full board. 0 from older servers, too. */
  omitted: number;
  /** The server has received every heartbeat up to this time. */
  observed_until: number;
  /** The silence of an instance counts from this time on. */
  observed_since: number;
}

/** One status event. `id` and `seen` are by Redis' clock, `timestamp` by the publisher's. */
export interface Report {
  service: string;
  instance: string;
  timestamp: number;
  status: JsonObject;
  heartbeat_s: number | null;
  stopped: boolean;
  /** The planned return after a graceful stop, in seconds. */
  back_in_s: number | null;
  id: string;
  seen: number;
}

/** The latest known status of one instance. */
export interface Instance extends Report {
  /** The instance was declared lost and has not been seen since. */
  lost: boolean;
  /** How long its event loop has not responded; 0 if it responds or is not watched. */
  lag_ms: number;
}

/** The loss of an instance. `id` is its position among the incidents; times by Redis' clock. */
export interface Incident {
  id: string;
  service: string;
  instance: string;
  seen: number;
  declared: number;
  /**
   * `silent`: no heartbeat for 2.5 intervals. `overdue`: the instance missed its planned return.
   * Later servers may send other causes.
   */
  cause: string;
  heartbeat_s: number | null;
}

/** One log line. `timestamp` is by the clock of the process that logged it. */
export interface LogLine {
  id: string;
  timestamp: number;
  level: string;
  message: string;
  traceback: string;
}

/** An incident with the instance's last status, its time by the instance's clock, and log lines. */
export interface LastWords extends Incident {
  status: JsonObject;
  timestamp: number;
  lines: LogLine[];
}

export interface BoardMessage extends Freshness {
  type: "board";
  now: number;
  ping_s: number;
  version: string;
  insecure: boolean;
  expect: string[];
  instances: Instance[];
  /** The latest incidents, newest first. */
  incidents: Incident[];
}

export interface StatusMessage {
  type: "status";
  report: Report;
}

export interface Heartbeat {
  service: string;
  instance: string;
  seen: number;
  lag_ms: number;
}

export interface HeartbeatsMessage {
  type: "heartbeats";
  now: number;
  observed_until: number;
  heartbeats: Heartbeat[];
}

export interface PingMessage extends Freshness {
  type: "ping";
  now: number;
}

/**
 * A change in the life of an instance: `lost`, with its incident, or `gone` from the board.
 * Later servers may send other events.
 */
export interface LifecycleMessage {
  type: "lifecycle";
  id: string;
  service: string;
  instance: string;
  event: string;
  incident: Incident | null;
}

/** This client was too slow, and the server skipped `count` messages. A board follows. */
export interface SkippedMessage {
  type: "skipped";
  reason: string;
  count: number;
}

export interface ResetMessage {
  type: "reset";
  reason: string;
}

export interface ByeMessage {
  type: "bye";
  reason: string;
}

export type Message =
  | BoardMessage
  | StatusMessage
  | HeartbeatsMessage
  | PingMessage
  | LifecycleMessage
  | SkippedMessage
  | ResetMessage
  | ByeMessage;

/** The events that the page reads. It ignores all others on the stream. */
export const EVENTS = [
  "board",
  "status",
  "heartbeats",
  "ping",
  "lifecycle",
  "skipped",
  "reset",
  "bye",
] as const satisfies readonly Message["type"][];
export type EventName = (typeof EVENTS)[number];

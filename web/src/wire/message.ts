/** The values that travel on `GET /api/stream` and `GET /api/incidents`, by docs/reference/wire.md. */

import type { JsonObject } from "../lib/json";

/** The server cannot see Redis since then, so it vouches for nothing. */
export interface Blind {
  since: number;
  reason: string;
}

/** Plain publishes were not heard from then to then (null: it goes on), by Redis' clock, and may be missing. */
export interface CoverageGap {
  since: number;
  until: number | null;
}

/** What can be vouched for: up to when every sign of life was heard, and since when silence counts, by Redis' clock. */
export interface View {
  blind: Blind | null;
  /** The latest time of the kind; null too from an older server, which does not tell. */
  gap: CoverageGap | null;
  /** How many instances a full board has no room for; 0 too from an older server, which does not tell. */
  omitted: number;
  observed_until: number;
  observed_since: number;
}

/** What one event says of its instance. `id` and `seen` are by Redis' clock, `timestamp` by the publisher's. */
export interface Report {
  service: string;
  instance: string;
  timestamp: number;
  status: JsonObject;
  heartbeat_s: number | null;
  stopped: boolean;
  /** With a planned goodbye: it will be back in so many seconds. */
  back_in_s: number | null;
  id: string;
  seen: number;
}

/** The latest known of one instance. */
export interface Instance extends Report {
  /** It was declared lost, and gave no sign of life since. */
  lost: boolean;
  /** For how long its event loop has not answered; 0 when it does, or there is none to watch. */
  lag_ms: number;
}

/** One loss: last sign of life and when it was declared, in ms by Redis' clock. `id` is its place among incidents. */
export interface Incident {
  id: string;
  service: string;
  instance: string;
  seen: number;
  declared: number;
  /** `silent`: no beat for two and a half rhythms; `overdue`: a planned return was missed. Later causes may come. */
  cause: string;
  heartbeat_s: number | null;
}

/** One line of a log; `timestamp` is by the clock of whoever logged it. */
export interface LogLine {
  id: string;
  timestamp: number;
  level: string;
  message: string;
  traceback: string;
}

/** An incident with what its instance said last, when by its own clock, and the last lines of its log. */
export interface LastWords extends Incident {
  status: JsonObject;
  timestamp: number;
  lines: LogLine[];
}

export interface BoardMessage extends View {
  type: "board";
  now: number;
  ping_s: number;
  version: string;
  insecure: boolean;
  expect: string[];
  instances: Instance[];
  /** The latest few, newest first. */
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

export interface PingMessage extends View {
  type: "ping";
  now: number;
}

/** What became of an instance: `lost`, with its incident, `gone` from the board, or what a later server may tell. */
export interface LifecycleMessage {
  type: "lifecycle";
  id: string;
  service: string;
  instance: string;
  event: string;
  incident: Incident | null;
}

/** This reader was too slow for so many messages; a board follows. */
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

/** The events this reader knows; the others on the stream are not for it. */
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

/**
 * The messages of `GET /api/stream` and `GET /api/incidents`, as the page uses them. They derive
 * from the generated shapes of docs/reference/wire.md, without the fields that the page ignores.
 */

import type {
  BlindView,
  BoardView,
  ByeView,
  CoverageGapView,
  HeartbeatsView,
  Incident,
  IncidentView,
  InstanceView,
  LifecycleEvent,
  LineView,
  PingView,
  ResetView,
  SkippedView,
} from "./shapes";

export type { Incident };
export type Blind = BlindView;
export type CoverageGap = CoverageGapView;

/** How current the server's knowledge is. All times are ms by Redis' clock. */
export type Freshness = Omit<PingView, "now">;

/** The latest known status of one instance. */
export type Instance = Omit<InstanceView, "commands">;

/** One status event. `id` and `seen` are by Redis' clock, `timestamp` by the publisher's. */
export type Report = Omit<Instance, "lost" | "lag_ms">;

/** One log line. Later servers may send other levels. */
export interface LogLine extends Pick<LineView, "id" | "timestamp" | "message"> {
  level: string;
  traceback: string;
}

/** An incident with the instance's last status, its time by the instance's clock, and log lines. */
export interface LastWords extends Incident, Pick<IncidentView, "status" | "timestamp"> {
  lines: LogLine[];
}

export interface BoardMessage extends Omit<BoardView, "instances"> {
  type: "board";
  instances: Instance[];
}

export interface StatusMessage {
  type: "status";
  report: Report;
}

/** One decoded `HeartbeatRow`. */
export interface Heartbeat extends Pick<InstanceView, "service" | "instance" | "seen" | "lag_ms"> {}

export interface HeartbeatsMessage extends Omit<HeartbeatsView, "heartbeats"> {
  type: "heartbeats";
  heartbeats: Heartbeat[];
}

export interface PingMessage extends PingView {
  type: "ping";
}

/**
 * A change in the life of an instance: `lost`, with its incident, or `gone` from the board.
 * Later servers may send other events.
 */
export interface LifecycleMessage extends Pick<LifecycleEvent, "service" | "instance" | "event"> {
  type: "lifecycle";
  id: string;
  incident: Incident | null;
}

/** This client was too slow, and the server skipped `count` messages. A board follows. */
export interface SkippedMessage extends Pick<SkippedView, "reason"> {
  type: "skipped";
  count: number;
}

export interface ResetMessage extends ResetView {
  type: "reset";
}

export interface ByeMessage extends ByeView {
  type: "bye";
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

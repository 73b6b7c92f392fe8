/**
 * Decodes the text of a frame into a message. Every part is validated here; a violation of
 * docs/reference/wire.md throws MalformedFrame.
 */

import type { Json } from "../lib/json";
import { timeOf } from "./cursor";
import type {
  Blind,
  CoverageGap,
  EventName,
  Freshness,
  Heartbeat,
  Incident,
  Instance,
  LastWords,
  LifecycleMessage,
  LogLine,
  Message,
  Report,
} from "./message";
import type {
  BoardView,
  HeartbeatsView,
  IncidentsView,
  IncidentView,
  InstanceView,
  LifecycleEvent,
  LineView,
  PingView,
  ResetView,
  SkippedView,
  StatusView,
} from "./shapes";
import {
  count,
  fieldsOf,
  flag,
  id,
  list,
  MalformedFrame,
  maybe,
  ms,
  name,
  object,
  parse,
  positive,
  text,
  type Unchecked,
  type UncheckedField,
} from "./validators";

const MAX_BACK_IN_S = 86_400;

/** Decode the data of one frame, or throw MalformedFrame. */
export function decode(event: EventName, data: string, frameId: string): Message {
  switch (event) {
    case "board":
      return board(parse(data));
    case "status":
      return status(parse(data), frameId);
    case "heartbeats":
      return heartbeats(parse(data));
    case "ping": {
      const value = parse<PingView>(data);
      return { type: "ping", now: ms(value.now, "now"), ...freshness(value) };
    }
    case "lifecycle":
      return lifecycle(parse(data), frameId);
    case "skipped": {
      const { reason, skipped } = parse<SkippedView>(data);
      return { type: "skipped", reason: text(reason, "reason"), count: sumOf(skipped) };
    }
    case "reset":
    case "bye":
      return { type: event, reason: text(parse<ResetView>(data).reason, "reason") };
  }
}

/** Decode the response of `GET /api/incidents`, or throw MalformedFrame. */
export function decodeIncidents(data: string): LastWords[] {
  return list(parse<IncidentsView>(data).incidents, "incidents").map((value) => {
    const { status, timestamp, lines } = fieldsOf<IncidentView>(value, "incidents");
    return {
      ...incident(value),
      status: object(status, "status"),
      timestamp: ms(timestamp, "timestamp"),
      // Older servers do not keep log lines.
      lines: lines === undefined ? [] : list(lines, "lines").map(logLine),
    };
  });
}

function board(value: Unchecked<BoardView>): Message {
  return {
    type: "board",
    now: ms(value.now, "now"),
    ...freshness(value),
    ping_s: positive(value.ping_s, "ping_s"),
    version: text(value.version, "version"),
    insecure: flag(value.insecure, "insecure"),
    expect: list(value.expect, "expect").map(name),
    instances: list(value.instances, "instances").map(instance),
    incidents: list(value.incidents, "incidents").map(incident),
  };
}

function status(value: Unchecked<StatusView>, frameId: string): Message {
  const seen = timeOf(frameId);
  if (seen === null) throw new MalformedFrame("id");
  return { type: "status", report: { ...statusFields(value), id: frameId, seen } };
}

function heartbeats(value: Unchecked<HeartbeatsView>): Message {
  return {
    type: "heartbeats",
    now: ms(value.now, "now"),
    observed_until: ms(value.observed_until, "observed_until"),
    heartbeats: list(value.heartbeats, "heartbeats").map(heartbeat),
  };
}

function lifecycle(value: Unchecked<LifecycleEvent>, frameId: string): LifecycleMessage {
  const event = text(value.event, "event");
  return {
    type: "lifecycle",
    id: id(frameId),
    service: name(value.service),
    instance: text(value.instance, "instance"),
    event,
    incident: event === "lost" ? incident(value.incident ?? null) : null,
  };
}

/** Decode the fields that a status event and an instance in a board have in common. */
function statusFields(value: Unchecked<Report>): Omit<Report, "id" | "seen"> {
  const stopped = value.stopped === undefined ? false : flag(value.stopped, "stopped");
  const back_in_s = maybe(value.back_in_s, "back_in_s", positive);
  if (back_in_s !== null && (!stopped || back_in_s > MAX_BACK_IN_S))
    throw new MalformedFrame("back_in_s");
  return {
    service: name(value.service),
    instance: value.instance === undefined ? "" : text(value.instance, "instance"),
    timestamp: ms(value.timestamp, "timestamp"),
    status: object(value.status, "status"),
    heartbeat_s: maybe(value.heartbeat_s, "heartbeat_s", positive),
    stopped,
    back_in_s,
  };
}

function freshness(value: Unchecked<Freshness>): Freshness {
  return {
    blind: blind(value.blind),
    // Older servers send neither `gap` nor `omitted`.
    gap: maybe(value.gap, "gap", gap),
    omitted: maybe(value.omitted, "omitted", count) ?? 0,
    observed_until: ms(value.observed_until, "observed_until"),
    observed_since: ms(value.observed_since, "observed_since"),
  };
}

function instance(value: Json): Instance {
  const fields = fieldsOf<InstanceView>(value, "instances");
  return {
    ...statusFields(fields),
    id: id(fields.id),
    seen: ms(fields.seen, "seen"),
    lost: flag(fields.lost, "lost"),
    lag_ms: count(fields.lag_ms, "lag_ms"),
  };
}

function incident(value: Json): Incident {
  const fields = fieldsOf<Incident>(value, "incident");
  return {
    id: id(fields.id),
    service: name(fields.service),
    instance: text(fields.instance, "instance"),
    seen: ms(fields.seen, "seen"),
    declared: ms(fields.declared, "declared"),
    cause: text(fields.cause, "cause"),
    heartbeat_s: maybe(fields.heartbeat_s, "heartbeat_s", positive),
  };
}

function logLine(value: Json): LogLine {
  const { id, timestamp, level, message, traceback } = fieldsOf<LineView>(value, "lines");
  return {
    id: text(id, "id"),
    timestamp: ms(timestamp, "timestamp"),
    level: text(level, "level"),
    message: text(message, "message"),
    traceback: traceback === undefined ? "" : text(traceback, "traceback"),
  };
}

/** Decode one `HeartbeatRow`. */
function heartbeat(value: Json): Heartbeat {
  const [service, instance, seen, lag_ms] = list(value, "heartbeats");
  if (seen === undefined) throw new MalformedFrame("heartbeats");
  return {
    service: name(service),
    instance: text(instance, "heartbeats"),
    seen: ms(seen, "heartbeats"),
    lag_ms: maybe(lag_ms, "heartbeats", count) ?? 0,
  };
}

function gap(value: UncheckedField): CoverageGap {
  const { since, until } = fieldsOf<CoverageGap>(value, "gap");
  return { since: ms(since, "gap"), until: maybe(until, "gap", ms) };
}

function blind(value: UncheckedField): Blind | null {
  if (value === null) return null;
  const { since, reason } = fieldsOf<Blind>(value, "blind");
  return { since: ms(since, "blind"), reason: text(reason, "blind") };
}

/** Return the total of the counts per kind. */
function sumOf(skipped: UncheckedField): number {
  const counts = Object.values(object(skipped, "skipped"));
  return counts.reduce<number>((sum, n) => sum + count(n, "skipped"), 0);
}

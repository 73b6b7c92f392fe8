/**
 * Decodes the text of a frame into a message. Every part is validated here; a violation of
 * docs/reference/wire.md throws MalformedFrame.
 */

import type { Json, JsonObject } from "../lib/json";
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
  LogLine,
  Message,
  Report,
} from "./message";
import {
  count,
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
} from "./validators";

const MAX_BACK_IN_S = 86_400;

/** Decode the data of one frame, or throw MalformedFrame. */
export function decode(event: EventName, data: string, frameId: string): Message {
  const value = parse(data);
  switch (event) {
    case "board":
      return {
        type: "board",
        now: ms(value["now"], "now"),
        ...freshness(value),
        ping_s: positive(value["ping_s"], "ping_s"),
        version: text(value["version"], "version"),
        insecure: flag(value["insecure"], "insecure"),
        expect: list(value["expect"], "expect").map(name),
        instances: list(value["instances"], "instances").map(instance),
        incidents: list(value["incidents"], "incidents").map(incident),
      };
    case "status": {
      const seen = timeOf(frameId);
      if (seen === null) throw new MalformedFrame("id");
      return { type: "status", report: { ...statusEvent(value), id: frameId, seen } };
    }
    case "heartbeats":
      return {
        type: "heartbeats",
        now: ms(value["now"], "now"),
        observed_until: ms(value["observed_until"], "observed_until"),
        heartbeats: list(value["heartbeats"], "heartbeats").map(heartbeat),
      };
    case "ping":
      return { type: "ping", now: ms(value["now"], "now"), ...freshness(value) };
    case "lifecycle":
      return lifecycle(value, frameId);
    case "skipped":
      return {
        type: "skipped",
        reason: text(value["reason"], "reason"),
        count: sumOf(value["skipped"]),
      };
    case "reset":
    case "bye":
      return { type: event, reason: text(value["reason"], "reason") };
  }
}

/** Decode the response of `GET /api/incidents`, or throw MalformedFrame. */
export function decodeIncidents(data: string): LastWords[] {
  return list(parse(data)["incidents"], "incidents").map((value) => {
    const words = object(value, "incidents");
    const status = object(words["status"], "status");
    // Older servers do not keep log lines.
    const lines = words["lines"] === undefined ? [] : list(words["lines"], "lines").map(logLine);
    return { ...incident(value), status, timestamp: ms(words["timestamp"], "timestamp"), lines };
  });
}

function logLine(value: Json): LogLine {
  const line = object(value, "lines");
  return {
    id: text(line["id"], "id"),
    timestamp: ms(line["timestamp"], "timestamp"),
    level: text(line["level"], "level"),
    message: text(line["message"], "message"),
    traceback: line["traceback"] === undefined ? "" : text(line["traceback"], "traceback"),
  };
}

/** Decode the part of a status event that is the same on pub/sub. */
function statusEvent(value: JsonObject): Omit<Report, "id" | "seen"> {
  const stopped = value["stopped"] === undefined ? false : flag(value["stopped"], "stopped");
  const back_in_s = maybe(value["back_in_s"], "back_in_s", positive);
  if (back_in_s !== null && (!stopped || back_in_s > MAX_BACK_IN_S))
    throw new MalformedFrame("back_in_s");
  return {
    service: name(value["service"]),
    instance: value["instance"] === undefined ? "" : text(value["instance"], "instance"),
    timestamp: ms(value["timestamp"], "timestamp"),
    status: object(value["status"], "status"),
    heartbeat_s: maybe(value["heartbeat_s"], "heartbeat_s", positive),
    stopped,
    back_in_s,
  };
}

function freshness(value: JsonObject): Freshness {
  return {
    blind: blind(value["blind"]),
    gap: maybe(value["gap"], "gap", gap),
    omitted: maybe(value["omitted"], "omitted", count) ?? 0,
    observed_until: ms(value["observed_until"], "observed_until"),
    observed_since: ms(value["observed_since"], "observed_since"),
  };
}

function instance(value: Json): Instance {
  const known = object(value, "instances");
  return {
    ...statusEvent(known),
    id: id(known["id"]),
    seen: ms(known["seen"], "seen"),
    lost: flag(known["lost"], "lost"),
    lag_ms: count(known["lag_ms"], "lag_ms"),
  };
}

function incident(value: Json): Incident {
  const known = object(value, "incident");
  return {
    id: id(known["id"]),
    service: name(known["service"]),
    instance: text(known["instance"], "instance"),
    seen: ms(known["seen"], "seen"),
    declared: ms(known["declared"], "declared"),
    cause: text(known["cause"], "cause"),
    heartbeat_s: maybe(known["heartbeat_s"], "heartbeat_s", positive),
  };
}

function lifecycle(value: JsonObject, frameId: string): Message {
  const event = text(value["event"], "event");
  return {
    type: "lifecycle",
    id: id(frameId),
    service: name(value["service"]),
    instance: text(value["instance"], "instance"),
    event,
    incident: event === "lost" ? incident(value["incident"] ?? null) : null,
  };
}

function heartbeat(value: Json): Heartbeat {
  const parts = list(value, "heartbeats");
  if (parts.length < 3) throw new MalformedFrame("heartbeats");
  return {
    service: name(parts[0]),
    instance: text(parts[1], "heartbeats"),
    seen: ms(parts[2], "heartbeats"),
    lag_ms: maybe(parts[3], "heartbeats", count) ?? 0,
  };
}

function sumOf(skipped: Json | undefined): number {
  const counts = Object.values(object(skipped, "skipped"));
  return counts.reduce<number>((sum, n) => sum + count(n, "skipped"), 0);
}

function gap(value: Json | undefined): CoverageGap {
  const known = object(value, "gap");
  return { since: ms(known["since"], "gap"), until: maybe(known["until"], "gap", ms) };
}

function blind(value: Json | undefined): Blind | null {
  if (value === null) return null;
  const known = object(value, "blind");
  return { since: ms(known["since"], "blind"), reason: text(known["reason"], "blind") };
}

/** From the text of a frame to a message. Nothing unchecked goes past here: what is not as the wire says is a Malformed. */

import type { Json, JsonObject } from "../lib/json";
import { timeOf } from "./cursor";
import type {
  Blind,
  CoverageGap,
  EventName,
  Heartbeat,
  Incident,
  Instance,
  LastWords,
  LogLine,
  Message,
  Report,
  View,
} from "./message";
import { count, flag, id, list, Malformed, maybe, ms, name, object, parse, positive, text } from "./parts";

const MAX_BACK_IN_S = 86_400;

/** Read the data of the frame `event` with this id, or throw Malformed. */
export function decode(event: EventName, data: string, frameId: string): Message {
  const value = parse(data);
  switch (event) {
    case "board":
      return {
        type: "board",
        now: ms(value["now"], "now"),
        ...view(value),
        ping_s: positive(value["ping_s"], "ping_s"),
        version: text(value["version"], "version"),
        insecure: flag(value["insecure"], "insecure"),
        expect: list(value["expect"], "expect").map(name),
        instances: list(value["instances"], "instances").map(instance),
        incidents: list(value["incidents"], "incidents").map(incident),
      };
    case "status": {
      const seen = timeOf(frameId);
      if (seen === null) throw new Malformed("id");
      return { type: "status", report: { ...told(value), id: frameId, seen } };
    }
    case "heartbeats":
      return {
        type: "heartbeats",
        now: ms(value["now"], "now"),
        observed_until: ms(value["observed_until"], "observed_until"),
        heartbeats: list(value["heartbeats"], "heartbeats").map(beat),
      };
    case "ping":
      return { type: "ping", now: ms(value["now"], "now"), ...view(value) };
    case "lifecycle":
      return lifecycle(value, frameId);
    case "skipped":
      return { type: "skipped", reason: text(value["reason"], "reason"), count: total(value["skipped"]) };
    case "reset":
    case "bye":
      return { type: event, reason: text(value["reason"], "reason") };
  }
}

/** Read the answer of `GET /api/incidents`, or throw Malformed. */
export function decodeIncidents(data: string): LastWords[] {
  return list(parse(data)["incidents"], "incidents").map((value) => {
    const words = object(value, "incidents");
    const status = object(words["status"], "status");
    // An older server kept none.
    const lines = words["lines"] === undefined ? [] : list(words["lines"], "lines").map(line);
    return { ...incident(value), status, timestamp: ms(words["timestamp"], "timestamp"), lines };
  });
}

function line(value: Json): LogLine {
  const said = object(value, "lines");
  return {
    id: text(said["id"], "id"),
    timestamp: ms(said["timestamp"], "timestamp"),
    level: text(said["level"], "level"),
    message: text(said["message"], "message"),
    traceback: said["traceback"] === undefined ? "" : text(said["traceback"], "traceback"),
  };
}

/** What a status event says itself, as it also stands on pub/sub. */
function told(value: JsonObject): Omit<Report, "id" | "seen"> {
  const stopped = value["stopped"] === undefined ? false : flag(value["stopped"], "stopped");
  const back_in_s = maybe(value["back_in_s"], "back_in_s", positive);
  if (back_in_s !== null && (!stopped || back_in_s > MAX_BACK_IN_S)) throw new Malformed("back_in_s");
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

function view(value: JsonObject): View {
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
    ...told(known),
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

function beat(value: Json): Heartbeat {
  const parts = list(value, "heartbeats");
  if (parts.length < 3) throw new Malformed("heartbeats");
  return {
    service: name(parts[0]),
    instance: text(parts[1], "heartbeats"),
    seen: ms(parts[2], "heartbeats"),
    lag_ms: maybe(parts[3], "heartbeats", count) ?? 0,
  };
}

function total(skipped: Json | undefined): number {
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

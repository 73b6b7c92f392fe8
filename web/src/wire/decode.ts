/** From the text of a frame to a message. Nothing unchecked goes past here: what is not as the wire says is a Malformed. */

import { isObject, type Json, type JsonObject } from "../lib/json";
import { timeOf } from "./cursor";
import type { Beat, Blind, EventName, Instance, Message } from "./message";

/** A frame that is not what docs/reference/wire.md says; the message names the part at fault. */
export class Malformed extends Error {}

const NAME = /^[a-z0-9][a-z0-9._-]{0,63}$/;
const RESERVED = new Set(["logs", "metrics", "commands"]);

/** Read the data of the frame `event` with this id, or throw Malformed. */
export function decode(event: EventName, data: string, id: string): Message {
  const value = parse(data);
  switch (event) {
    case "board":
      return {
        type: "board",
        now: ms(value["now"], "now"),
        blind: blind(value["blind"]),
        ping_s: positive(value["ping_s"], "ping_s"),
        version: text(value["version"], "version"),
        insecure: flag(value["insecure"], "insecure"),
        expect: list(value["expect"], "expect").map(name),
        instances: list(value["instances"], "instances").map(instance),
      };
    case "status": {
      const seen = timeOf(id);
      if (seen === null) throw new Malformed("id");
      return { type: "status", instance: { ...eventPart(value), id, seen } };
    }
    case "beats":
      return { type: "beats", now: ms(value["now"], "now"), beats: list(value["beats"], "beats").map(beat) };
    case "ping":
      return { type: "ping", now: ms(value["now"], "now"), blind: blind(value["blind"]) };
    case "reset":
    case "bye":
      return { type: event, reason: text(value["reason"], "reason") };
  }
}

function parse(data: string): JsonObject {
  let value: unknown;
  try {
    value = JSON.parse(data);
  } catch (cause) {
    throw new Malformed("not-json", { cause });
  }
  if (!isObject(value)) throw new Malformed("not-object");
  return value;
}

type EventPart = Omit<Instance, "id" | "seen">;

/** What a status event says itself, as it also stands on pub/sub. */
export function eventPart(value: JsonObject): EventPart {
  const { status, beat_s, goodbye } = value;
  if (!isObject(status)) throw new Malformed("status");
  if (goodbye !== undefined && typeof goodbye !== "boolean") throw new Malformed("goodbye");
  return {
    service: name(value["service"]),
    instance: value["instance"] === undefined ? "" : text(value["instance"], "instance"),
    timestamp: ms(value["timestamp"], "timestamp"),
    status,
    beat_s: beat_s === undefined || beat_s === null ? null : positive(beat_s, "beat_s"),
    goodbye: goodbye === true,
  };
}

function instance(value: Json): Instance {
  if (!isObject(value)) throw new Malformed("instances");
  const id = text(value["id"], "id");
  if (timeOf(id) === null) throw new Malformed("id");
  return { ...eventPart(value), id, seen: ms(value["seen"], "seen") };
}

function beat(value: Json): Beat {
  if (!Array.isArray(value) || value.length !== 3) throw new Malformed("beats");
  return [name(value[0]), text(value[1], "beats"), ms(value[2], "beats")];
}

function blind(value: Json | undefined): Blind | null {
  if (value === null) return null;
  if (!isObject(value)) throw new Malformed("blind");
  return { since: ms(value["since"], "blind"), reason: text(value["reason"], "blind") };
}

function name(value: Json | undefined): string {
  if (typeof value !== "string" || !NAME.test(value) || RESERVED.has(value)) throw new Malformed("service");
  return value;
}

function text(value: Json | undefined, part: string): string {
  if (typeof value !== "string") throw new Malformed(part);
  return value;
}

function ms(value: Json | undefined, part: string): number {
  if (typeof value !== "number" || !Number.isInteger(value)) throw new Malformed(part);
  return value;
}

function positive(value: Json | undefined, part: string): number {
  if (typeof value !== "number" || !(value > 0)) throw new Malformed(part);
  return value;
}

function flag(value: Json | undefined, part: string): boolean {
  if (typeof value !== "boolean") throw new Malformed(part);
  return value;
}

function list(value: Json | undefined, part: string): Json[] {
  if (!Array.isArray(value)) throw new Malformed(part);
  return value;
}

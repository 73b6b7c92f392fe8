/** The checks that every part of a frame passes: the value as its type, or a Malformed that names the part at fault. */

import { isObject, type Json, type JsonObject } from "../lib/json";
import { timeOf } from "./cursor";

/** A frame that is not what docs/reference/wire.md says; the message names the part at fault. */
export class Malformed extends Error {}

const NAME = /^[a-z0-9][a-z0-9._-]{0,63}$/;
const RESERVED = new Set(["logs", "metrics", "commands"]);

type Part = Json | undefined;

export function parse(data: string): JsonObject {
  let value: unknown;
  try {
    value = JSON.parse(data);
  } catch (cause) {
    throw new Malformed("not-json", { cause });
  }
  if (!isObject(value)) throw new Malformed("not-object");
  return value;
}

export function name(value: Part): string {
  if (typeof value !== "string" || !NAME.test(value) || RESERVED.has(value)) throw new Malformed("service");
  return value;
}

export function text(value: Part, part: string): string {
  if (typeof value !== "string") throw new Malformed(part);
  return value;
}

/** A feed id, or the like of one. */
export function id(value: Part): string {
  if (typeof value !== "string" || timeOf(value) === null) throw new Malformed("id");
  return value;
}

export function ms(value: Part, part: string): number {
  if (typeof value !== "number" || !Number.isInteger(value)) throw new Malformed(part);
  return value;
}

export function count(value: Part, part: string): number {
  const whole = ms(value, part);
  if (whole < 0) throw new Malformed(part);
  return whole;
}

export function positive(value: Part, part: string): number {
  if (typeof value !== "number" || !(value > 0)) throw new Malformed(part);
  return value;
}

export function flag(value: Part, part: string): boolean {
  if (typeof value !== "boolean") throw new Malformed(part);
  return value;
}

export function list(value: Part, part: string): Json[] {
  if (!Array.isArray(value)) throw new Malformed(part);
  return value;
}

export function object(value: Part, part: string): JsonObject {
  if (!isObject(value)) throw new Malformed(part);
  return value;
}

/** A part that may be left out or null. */
export function maybe<T>(value: Part, part: string, read: (value: Part, part: string) => T): T | null {
  return value === undefined || value === null ? null : read(value, part);
}

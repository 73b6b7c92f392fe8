/** Validators of the parts of a frame. Each returns the typed value or throws MalformedFrame. */

import { isObject, type Json, type JsonObject } from "../lib/json";
import { timeOf } from "./cursor";
import { RESERVED_NAMES } from "./shapes";

/** A frame that violates docs/reference/wire.md. The message names the malformed part. */
export class MalformedFrame extends Error {}

const NAME = /^[a-z0-9][a-z0-9._-]{0,63}$/;
const RESERVED = new Set<string>(RESERVED_NAMES);

/** A field of unvalidated JSON; undefined if it is absent. */
export type UncheckedField = Json | undefined;

/** A JSON object with the field names of a shape, and values that are not validated yet. */
export type Unchecked<Shape> = { readonly [Key in keyof Shape]?: Json };

export function parse<Shape>(data: string): Unchecked<Shape> {
  let value: unknown;
  try {
    value = JSON.parse(data);
  } catch (cause) {
    throw new MalformedFrame("not-json", { cause });
  }
  if (!isObject(value)) throw new MalformedFrame("not-object");
  return value as Unchecked<Shape>;
}

/** Validate a service name. */
export function name(value: UncheckedField): string {
  if (typeof value !== "string" || !NAME.test(value) || RESERVED.has(value))
    throw new MalformedFrame("service");
  return value;
}

export function text(value: UncheckedField, part: string): string {
  if (typeof value !== "string") throw new MalformedFrame(part);
  return value;
}

/** Validate an id of the form `<ms>-<seq>`. */
export function id(value: UncheckedField): string {
  if (typeof value !== "string" || timeOf(value) === null) throw new MalformedFrame("id");
  return value;
}

export function ms(value: UncheckedField, part: string): number {
  if (typeof value !== "number" || !Number.isInteger(value)) throw new MalformedFrame(part);
  return value;
}

export function count(value: UncheckedField, part: string): number {
  const whole = ms(value, part);
  if (whole < 0) throw new MalformedFrame(part);
  return whole;
}

export function positive(value: UncheckedField, part: string): number {
  if (typeof value !== "number" || !(value > 0)) throw new MalformedFrame(part);
  return value;
}

export function flag(value: UncheckedField, part: string): boolean {
  if (typeof value !== "boolean") throw new MalformedFrame(part);
  return value;
}

export function list(value: UncheckedField, part: string): Json[] {
  if (!Array.isArray(value)) throw new MalformedFrame(part);
  return value;
}

export function object(value: UncheckedField, part: string): JsonObject {
  if (!isObject(value)) throw new MalformedFrame(part);
  return value;
}

/** Validate that a part is an object, and give it the field names of a shape. */
export function fieldsOf<Shape>(value: UncheckedField, part: string): Unchecked<Shape> {
  return object(value, part) as Unchecked<Shape>;
}

/** Validate a part that may be absent or null. */
export function maybe<T>(
  value: UncheckedField,
  part: string,
  validate: (value: UncheckedField, part: string) => T,
): T | null {
  return value === undefined || value === null ? null : validate(value, part);
}

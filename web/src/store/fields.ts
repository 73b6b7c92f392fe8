/**
 * The status of one instance as rows, one signal per value: a new status updates only the rows
 * whose value changed. Rows keep the order in which their keys first appeared.
 */

import { type Signal, signal } from "@preact/signals";
import { isObject, isSame, type Json, type JsonObject } from "../lib/json";

/** An object nested deeper than this is shown as one row. */
const MAX_DEPTH = 3;
/** The order of at most this many keys of an object is kept. Beyond it, the order is reset. */
const MAX_KEYS = 400;

export interface Row {
  /** The keys that lead to the value, joined by dots. */
  path: string;
  key: string;
  depth: number;
  /** A heading has rows below it and no value. */
  heading: boolean;
  value: Signal<Json>;
}

export class Fields {
  readonly rows = signal<readonly Row[]>([]);
  private readonly known = new Map<string, Row>();
  private readonly order = new Map<string, string[]>();

  apply(status: JsonObject): void {
    const next: Row[] = [];
    this.walk(status, "", 0, next);
    const before = this.rows.peek();
    if (before.length === next.length && before.every((row, i) => row === next[i])) return;
    this.rows.value = next;
    if (this.known.size > 2 * next.length + MAX_KEYS) this.forget(next);
  }

  private walk(object: JsonObject, parent: string, depth: number, into: Row[]): void {
    for (const key of this.sorted(object, parent)) {
      const value = object[key] ?? null;
      const path = parent === "" ? key : `${parent}.${key}`;
      const nested =
        isObject(value) && depth < MAX_DEPTH && Object.keys(value).length > 0 ? value : null;
      into.push(this.row(path, key, depth, nested !== null, nested ? null : value));
      if (nested) this.walk(nested, path, depth + 1, into);
    }
  }

  private row(path: string, key: string, depth: number, heading: boolean, value: Json): Row {
    const known = this.known.get(path);
    if (known && known.heading === heading && known.depth === depth) {
      if (!isSame(known.value.peek(), value)) known.value.value = value;
      return known;
    }
    const row = { path, key, depth, heading, value: signal(value) };
    this.known.set(path, row);
    return row;
  }

  /** Return the keys of `object` in their kept order; a new key follows its predecessor. */
  private sorted(object: JsonObject, parent: string): string[] {
    const keys = Object.keys(object);
    const known = this.order.get(parent);
    if (!known || known.length > MAX_KEYS) {
      this.order.set(parent, keys);
      return keys;
    }
    const has = new Set(known);
    keys.forEach((key, i) => {
      if (has.has(key)) return;
      const before = keys[i - 1];
      known.splice(before === undefined ? 0 : known.indexOf(before) + 1, 0, key);
      has.add(key);
    });
    return known.filter((key) => Object.hasOwn(object, key));
  }

  private forget(rows: readonly Row[]): void {
    this.known.clear();
    this.order.clear();
    for (const row of rows) this.known.set(row.path, row);
  }
}

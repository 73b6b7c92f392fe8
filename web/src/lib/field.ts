/** Classifies a field of a status by its key and value: label, unit and display form. */

import { formatBytes, formatDuration, formatNumber, humanise } from "./format";
import { isObject, isScalar, type Json, type Scalar } from "./json";

export type DisplayValue =
  | { kind: "empty" }
  | { kind: "flag"; on: boolean }
  | { kind: "number"; text: string; title: string }
  | { kind: "time"; at: number }
  | { kind: "text"; text: string; error: boolean }
  | { kind: "list"; items: Scalar[] }
  | { kind: "tree"; text: string; summary: string };

const TIME_KEY = /(At|Time|_at|_time|[tT]imestamp)$|^(last|next)|^(at|time)$/;
const MS_KEY = /(Ms|_ms|Millis|_millis)$|^(ms|millis)$/;
const S_KEY = /(Seconds|_seconds|Secs|_secs|_s)$|^seconds$/;
const BYTES_KEY = /(Bytes|_bytes)$|^bytes$/;
const PERCENT_KEY = /(Percent|_percent|Pct|_pct)$|^percent$/;
const ERROR_KEY = /(^|_)(error|exception)$|(Error|Exception)$/;
const ISO = /^\d{4}-\d{2}-\d{2}T\d{2}:\d{2}(:\d{2}(\.\d+)?)?(Z|[+-]\d{2}:?\d{2})$/;

/** 2001 to 2096 in ms. A count or duration under a time-like key is never that large. */
const isEpochMs = (value: number) => value >= 1e12 && value < 4e12;

/** Return whether a field with this key reports a failure if it has a value. */
export function isErrorKey(key: string): boolean {
  return ERROR_KEY.test(key);
}

/** Classify a value by its key, which is the last part of its path. */
export function classifyField(key: string, value: Json): DisplayValue {
  if (value === null) return { kind: "empty" };
  if (typeof value === "boolean") return { kind: "flag", on: value };
  if (typeof value === "number") return classifyNumber(key, value);
  if (typeof value === "string") return classifyText(key, value);
  if (Array.isArray(value)) {
    return value.every(isScalar)
      ? { kind: "list", items: value }
      : tree(value, count(value.length, "item"));
  }
  return tree(value, count(Object.keys(value).length, "field"));
}

function classifyNumber(key: string, value: number): DisplayValue {
  if (TIME_KEY.test(key) && isEpochMs(value)) return { kind: "time", at: value };
  const title = String(value);
  if (MS_KEY.test(key)) return { kind: "number", text: formatDuration(value), title };
  if (S_KEY.test(key)) return { kind: "number", text: formatDuration(value * 1000), title };
  if (BYTES_KEY.test(key)) return { kind: "number", text: formatBytes(value), title };
  if (PERCENT_KEY.test(key)) return { kind: "number", text: `${formatNumber(value)} %`, title };
  return { kind: "number", text: formatNumber(value), title };
}

function classifyText(key: string, value: string): DisplayValue {
  if (value === "") return { kind: "empty" };
  if (ISO.test(value)) {
    const at = Date.parse(value);
    if (!Number.isNaN(at)) return { kind: "time", at };
  }
  return { kind: "text", text: value, error: isErrorKey(key) };
}

function tree(value: Json, summary: string): DisplayValue {
  return { kind: "tree", text: JSON.stringify(value, null, 2), summary };
}

function count(n: number, noun: string): string {
  return `${formatNumber(n)} ${noun}${n === 1 ? "" : "s"}`;
}

const UNIT =
  /(Ms|_ms|Millis|_millis|Seconds|_seconds|Secs|_secs|_s|Bytes|_bytes|Percent|_percent|Pct|_pct)$/;

const AT = /(At|_at)$/;

/**
 * Return the label of a key. The label omits what the formatted value shows itself: its unit, and
 * the "at" of a time. An empty value gets the same label, so that the label does not change when
 * the value arrives. The time of an error keeps its "at" to distinguish it from the error.
 */
export function labelOf(key: string, value: DisplayValue): string {
  const { kind } = value;
  let bare = key;
  if (kind === "number" || kind === "empty") bare = bare.replace(UNIT, "");
  if ((kind === "time" || kind === "empty") && !isErrorKey(bare.replace(AT, "")))
    bare = bare.replace(AT, "");
  return humanise(bare === "" ? key : bare);
}

/** Find the activity of an instance, as text, and its field; null if the status has none. */
export function findActivity(status: Json): { key: string; text: string } | null {
  if (!isObject(status)) return null;
  const { phase, isRunning } = status;
  if (typeof phase === "string" && phase.trim() !== "")
    return { key: "phase", text: humanise(phase) };
  if (typeof isRunning === "boolean")
    return { key: "isRunning", text: isRunning ? "Running" : "Idle" };
  return null;
}

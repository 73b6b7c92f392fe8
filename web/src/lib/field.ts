/** What a field of a status is, judged by its key and its value: which words, which unit, which shape. */

import { formatBytes, formatDuration, formatNumber, humanise } from "./format";
import { isObject, isScalar, type Json, type Scalar } from "./json";

export type Reading =
  | { kind: "nothing" }
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

/** 2001 to 2096 in ms: no plausible count or duration under a time-like key lies there. */
const isEpochMs = (value: number) => value >= 1e12 && value < 4e12;

/** Whether a field under this key speaks of a failure when it holds something. */
export function isErrorKey(key: string): boolean {
  return ERROR_KEY.test(key);
}

/** Judge one value under its key (the last part of its path). */
export function readField(key: string, value: Json): Reading {
  if (value === null) return { kind: "nothing" };
  if (typeof value === "boolean") return { kind: "flag", on: value };
  if (typeof value === "number") return readNumber(key, value);
  if (typeof value === "string") return readText(key, value);
  if (Array.isArray(value)) {
    return value.every(isScalar) ? { kind: "list", items: value } : tree(value, count(value.length, "item"));
  }
  return tree(value, count(Object.keys(value).length, "field"));
}

function readNumber(key: string, value: number): Reading {
  if (TIME_KEY.test(key) && isEpochMs(value)) return { kind: "time", at: value };
  const title = String(value);
  if (MS_KEY.test(key)) return { kind: "number", text: formatDuration(value), title };
  if (S_KEY.test(key)) return { kind: "number", text: formatDuration(value * 1000), title };
  if (BYTES_KEY.test(key)) return { kind: "number", text: formatBytes(value), title };
  if (PERCENT_KEY.test(key)) return { kind: "number", text: `${formatNumber(value)} %`, title };
  return { kind: "number", text: formatNumber(value), title };
}

function readText(key: string, value: string): Reading {
  if (value === "") return { kind: "nothing" };
  if (ISO.test(value)) {
    const at = Date.parse(value);
    if (!Number.isNaN(at)) return { kind: "time", at };
  }
  return { kind: "text", text: value, error: isErrorKey(key) };
}

function tree(value: Json, summary: string): Reading {
  return { kind: "tree", text: JSON.stringify(value, null, 2), summary };
}

function count(n: number, noun: string): string {
  return `${formatNumber(n)} ${noun}${n === 1 ? "" : "s"}`;
}

const UNIT = /(Ms|_ms|Millis|_millis|Seconds|_seconds|Secs|_secs|_s|Bytes|_bytes|Percent|_percent|Pct|_pct)$/;

const AT = /(At|_at)$/;

/**
 * The words for a key. What the value says itself is left out: its unit, the "at" of a time. A value that is still
 * missing will say it too, so that the label holds still; beside an error, its time keeps the "at" that tells them apart.
 */
export function labelOf(key: string, reading: Reading): string {
  const { kind } = reading;
  let bare = key;
  if (kind === "number" || kind === "nothing") bare = bare.replace(UNIT, "");
  if ((kind === "time" || kind === "nothing") && !isErrorKey(bare.replace(AT, "")))
    bare = bare.replace(AT, "");
  return humanise(bare === "" ? key : bare);
}

/** What an instance is doing, in a word, and the field that says so; null when its status does not tell. */
export function readActivity(status: Json): { key: string; text: string } | null {
  if (!isObject(status)) return null;
  const { phase, isRunning } = status;
  if (typeof phase === "string" && phase.trim() !== "") return { key: "phase", text: humanise(phase) };
  if (typeof isRunning === "boolean") return { key: "isRunning", text: isRunning ? "Running" : "Idle" };
  return null;
}

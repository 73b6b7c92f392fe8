/** Formats numbers, times and names as English text, with a space before each unit. */

const grouped = new Intl.NumberFormat("en-GB", { maximumFractionDigits: 3 });
const compactDecimals = new Intl.NumberFormat("en-GB", { maximumSignificantDigits: 3 });
const fullTime = new Intl.DateTimeFormat("en-GB", { dateStyle: "medium", timeStyle: "long" });
const clockTime = new Intl.DateTimeFormat("en-GB", { timeStyle: "medium" });

/** `12345.6789` -> `12,345.679`. Very small and very large numbers get four significant digits. */
export function formatNumber(value: number): string {
  const size = Math.abs(value);
  if (size !== 0 && (size < 0.001 || size >= 1e15))
    return value.toPrecision(4).replace(/\.?0+(e|$)/, "$1");
  return grouped.format(value);
}

/** A duration in ms -> `312 ms`, `4.2 s`, `3 min 20 s`, `5 h 12 min`, `3 d 4 h`. */
export function formatDuration(ms: number): string {
  if (ms < 0) return `−${formatDuration(-ms)}`;
  if (ms < 1000) return `${compactDecimals.format(ms)} ms`;
  if (ms < 60_000) return `${(Math.floor(ms / 100) / 10).toFixed(1)} s`;
  const s = Math.floor(ms / 1000);
  if (s < 3600) return `${Math.floor(s / 60)} min ${s % 60} s`;
  if (s < 86_400) return `${Math.floor(s / 3600)} h ${Math.floor((s % 3600) / 60)} min`;
  return `${grouped.format(Math.floor(s / 86_400))} d ${Math.floor((s % 86_400) / 3600)} h`;
}

/** Remaining ms as a countdown: `0:12`, `1:05:00`. Rounds up, so `0:00` means that it is over. */
export function formatCountdown(ms: number): string {
  const s = Math.ceil(Math.max(0, ms) / 1000);
  const two = (n: number) => String(n).padStart(2, "0");
  const minutes = Math.floor(s / 60) % 60;
  return s < 3600
    ? `${minutes}:${two(s % 60)}`
    : `${Math.floor(s / 3600)}:${two(minutes)}:${two(s % 60)}`;
}

/** A heartbeat interval in seconds: `5 s`, `0.5 s`, `2 min`. */
export function formatInterval(heartbeat_s: number): string {
  return heartbeat_s >= 120 && heartbeat_s % 60 === 0
    ? `${grouped.format(heartbeat_s / 60)} min`
    : `${grouped.format(heartbeat_s)} s`;
}

/** A duration in ms as a whole number of its largest unit; it changes at most once a second. */
function coarse(ms: number): string {
  const s = Math.floor(ms / 1000);
  if (s < 60) return `${s} s`;
  if (s < 3600) return `${Math.floor(s / 60)} min`;
  if (s < 48 * 3600) return `${Math.floor(s / 3600)} h`;
  return `${grouped.format(Math.floor(s / 86_400))} d`;
}

/** The time since `at`: `12 s`, `3 min`. */
export function formatSince(at: number, now: number): string {
  return coarse(Math.max(0, now - at));
}

/** The age of `at`: `12 s ago`. A time in the future, from a clock that is ahead, counts as now. */
export function formatAge(at: number, now: number): string {
  return `${formatSince(at, now)} ago`;
}

/** The distance of `at` from `now`: `12 s ago`, `in 3 min`. */
export function formatRelative(at: number, now: number): string {
  return at - now >= 1000 ? `in ${coarse(at - now)}` : formatAge(at, now);
}

export function formatFullTime(at: number): string {
  return Math.abs(at) <= 8.64e15 ? fullTime.format(at) : String(at);
}

export function formatClockTime(at: number): string {
  return Math.abs(at) <= 8.64e15 ? clockTime.format(at) : String(at);
}

const BYTES = ["B", "kB", "MB", "GB", "TB", "PB"];

export function formatBytes(value: number): string {
  let size = value;
  let unit = 0;
  while (Math.abs(size) >= 1000 && unit < BYTES.length - 1) {
    size /= 1000;
    unit += 1;
  }
  return `${compactDecimals.format(size)} ${BYTES[unit]}`;
}

/**
 * `avgDurationMs`, `queue_high`, `HTTPStatus` ->
 * `Avg duration ms`, `Queue high`, `HTTP status`.
 */
export function humanise(key: string): string {
  const words = key
    .replace(/([a-z0-9])([A-Z])/g, "$1 $2")
    .replace(/([A-Z]+)([A-Z][a-z])/g, "$1 $2")
    .split(/[\s_.-]+/)
    .filter((word) => word !== "")
    .map((word) => (/^[A-Z0-9]{2,}$/.test(word) ? word : word.toLowerCase()));
  const text = words.join(" ");
  return text === "" ? key : text.charAt(0).toUpperCase() + text.slice(1);
}

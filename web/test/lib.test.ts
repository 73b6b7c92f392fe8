import { describe, expect, test } from "vitest";
import { backoffMs } from "../src/lib/backoff";
import { classifyField, findActivity, labelOf } from "../src/lib/field";
import {
  formatAge,
  formatBytes,
  formatCountdown,
  formatDuration,
  formatInterval,
  formatNumber,
  formatRelative,
  humanise,
} from "../src/lib/format";

describe("the wait before the next attempt", () => {
  test("doubles its ceiling from half a second up to 15 s", () => {
    const most = (failures: number) => backoffMs(failures, () => 1);
    expect([0, 1, 2, 3, 4, 5, 6, 100].map(most)).toEqual([
      500, 1000, 2000, 4000, 8000, 15_000, 15_000, 15_000,
    ]);
  });

  test("is drawn from the whole range, but is never zero", () => {
    expect(backoffMs(5, () => 0.5)).toBe(7500);
    expect(backoffMs(5, () => 0)).toBeGreaterThan(0);
  });
});

describe("formatting", () => {
  test.each([
    ["avgDurationMs", "Avg duration ms"],
    ["queue_high", "Queue high"],
    ["HTTPStatus", "HTTP status"],
    ["lastRunAt", "Last run at"],
    ["p99", "P99"],
    ["الحالة", "الحالة"],
    ["__", "__"],
  ])("the key %s is %s", (key, text) => expect(humanise(key)).toBe(text));

  test.each([
    [0, "0 ms"],
    [311.6, "312 ms"],
    [4_240, "4.2 s"],
    [59_999, "59.9 s"],
    [200_000, "3 min 20 s"],
    [18_720_000, "5 h 12 min"],
    [273_600_000, "3 d 4 h"],
    [-1500, "−1.5 s"],
  ])("a duration of %d ms is %s", (ms, text) => expect(formatDuration(ms)).toBe(text));

  test.each([
    [1234567, "1,234,567"],
    [0.5, "0.5"],
    [0, "0"],
    [0.00001234, "0.00001234"],
    [1.2345e19, "1.235e+19"],
  ])("the number %d is %s", (value, text) => expect(formatNumber(value)).toBe(text));

  test("an age has its largest unit, and a time slightly in the future is now", () => {
    const ages = [-500, 0, 999, 59_999, 60_000, 3_600_000, 47.9 * 3_600_000, 48 * 3_600_000];
    expect(ages.map((age) => formatAge(0, age))).toEqual([
      "0 s ago",
      "0 s ago",
      "0 s ago",
      "59 s ago",
      "1 min ago",
      "1 h ago",
      "47 h ago",
      "2 d ago",
    ]);
  });

  test("a countdown rounds up, so zero means that it is over", () => {
    const left = [-1, 0, 1, 12_000, 59_001, 65_000, 3_600_000, 86_399_001];
    expect(left.map(formatCountdown)).toEqual([
      "0:00",
      "0:00",
      "0:01",
      "0:12",
      "1:00",
      "1:05",
      "1:00:00",
      "24:00:00",
    ]);
  });

  test("a time in the future begins with in", () => {
    expect(formatRelative(180_000, 0)).toBe("in 3 min");
    expect(formatRelative(0, 5000)).toBe("5 s ago");
  });

  test("intervals and sizes have their unit", () => {
    expect([0.5, 5, 60, 120, 90].map(formatInterval)).toEqual([
      "0.5 s",
      "5 s",
      "60 s",
      "2 min",
      "90 s",
    ]);
    expect([0, 999, 73_400_320].map(formatBytes)).toEqual(["0 B", "999 B", "73.4 MB"]);
  });
});

describe("the classification of a field", () => {
  const AT = 1_765_584_000_000;

  test("a number is a time if both its key and its size indicate one", () => {
    expect(classifyField("lastRunAt", AT)).toEqual({ kind: "time", at: AT });
    expect(classifyField("nextRun", AT)).toEqual({ kind: "time", at: AT });
    expect(classifyField("oldest_timestamp", AT)).toEqual({ kind: "time", at: AT });
    expect(classifyField("lastRunAt", 17)).toMatchObject({ kind: "number" });
    expect(classifyField("bytesSent", AT)).toMatchObject({ kind: "number" });
    expect(classifyField("format", AT)).toMatchObject({ kind: "number" });
  });

  test("an ISO time is a time under any key; a date alone is text", () => {
    expect(classifyField("x", "2025-12-13T00:00:00Z")).toEqual({ kind: "time", at: AT });
    expect(classifyField("x", "2025-12-13T00:00:00.000+00:00")).toEqual({ kind: "time", at: AT });
    expect(classifyField("x", "2025-12-13")).toMatchObject({ kind: "text" });
    expect(classifyField("x", "2025-13-45T99:00:00Z")).toMatchObject({ kind: "text" });
  });

  test("a label is the same before its value arrives", () => {
    const label = (key: string, value: number | null) => labelOf(key, classifyField(key, value));
    expect([null, 1765584000000].map((value) => label("nextRunAt", value))).toEqual([
      "Next run",
      "Next run",
    ]);
    expect([null, 12].map((value) => label("lastDurationMs", value))).toEqual([
      "Last duration",
      "Last duration",
    ]);
  });

  test("the label of an error differs from the label of its time", () => {
    const error = labelOf("lastError", classifyField("lastError", "refused"));
    const at = labelOf("lastErrorAt", classifyField("lastErrorAt", 1765584000000));
    expect([error, at]).toEqual(["Last error", "Last error at"]);
  });

  test("a number gets the unit of its key, and the label omits the unit", () => {
    const of = (key: string, value: number) => {
      const display = classifyField(key, value);
      return [labelOf(key, display), display.kind === "number" && display.text];
    };
    expect(of("avgDurationMs", 1500)).toEqual(["Avg duration", "1.5 s"]);
    expect(of("uptime_s", 90)).toEqual(["Uptime", "1 min 30 s"]);
    expect(of("uptimeSeconds", 3)).toEqual(["Uptime", "3.0 s"]);
    expect(of("heap_bytes", 2_000_000)).toEqual(["Heap", "2 MB"]);
    expect(of("hitPercent", 93.4)).toEqual(["Hit", "93.4 %"]);
    expect(of("status", 3)).toEqual(["Status", "3"]);
  });

  test("only keys that report a failure are errors", () => {
    const error = (key: string) => classifyField(key, "x");
    expect(["error", "lastError", "last_error", "TimeoutException"].map(error)).toEqual(
      Array(4).fill({ kind: "text", text: "x", error: true }),
    );
    expect(error("errorBudget")).toMatchObject({ error: false });
    expect(classifyField("lastError", null)).toEqual({ kind: "empty" });
  });

  test("an array of scalars is a list, one with objects is a tree", () => {
    expect(classifyField("a", [1, "b", null])).toEqual({ kind: "list", items: [1, "b", null] });
    expect(classifyField("a", [{ b: 1 }])).toMatchObject({ kind: "tree", summary: "1 item" });
  });
});

describe("the activity of an instance", () => {
  test("is its phase, else whether it runs, else null", () => {
    expect(findActivity({ isRunning: true, phase: "waiting_for_core" })).toEqual({
      key: "phase",
      text: "Waiting for core",
    });
    expect(findActivity({ isRunning: false, phase: " " })).toEqual({
      key: "isRunning",
      text: "Idle",
    });
    expect(findActivity({ isRunning: true, phase: null })).toEqual({
      key: "isRunning",
      text: "Running",
    });
    expect(findActivity({ isRunning: "yes" })).toBeNull();
  });
});

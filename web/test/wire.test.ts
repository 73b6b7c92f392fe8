import { describe, expect, test } from "vitest";
import { idAfter, isAfter, timeOf } from "../src/wire/cursor";
import { decode, decodeIncidents } from "../src/wire/decode";
import { Malformed } from "../src/wire/parts";
import { stateOf } from "../src/wire/state";
import { eventCases, frameCases, parseStream, stateCases, streamText } from "./fixtures";

describe("the state rule", () => {
  test.each(stateCases)("$name: $state", ({ name: _, state, ...signs }) => {
    expect(stateOf(signs)).toBe(state);
  });
});

describe("feed ids", () => {
  test("are ordered by their numbers, not their letters", () => {
    expect(isAfter("1000-0", "999-9")).toBe(true);
    expect(isAfter("5-10", "5-9")).toBe(true);
    expect(isAfter("5-9", "5-9")).toBe(false);
    expect(isAfter("5-0", "")).toBe(true);
    expect(isAfter("", "5-0")).toBe(false);
  });

  test("have a next one", () => {
    expect(idAfter("1765584000000-9")).toBe("1765584000000-10");
    expect(isAfter(idAfter("5-0"), "5-0")).toBe(true);
  });

  test("carry their time", () => {
    expect(timeOf("1765584000000-3")).toBe(1765584000000);
    expect(timeOf("latest")).toBeNull();
  });
});

describe("the golden stream", () => {
  const frames = parseStream(streamText);

  test("reads as the frames it is said to hold", () => {
    expect(frames.map((frame) => ({ ...frame, data: JSON.parse(frame.data) }))).toEqual(
      frameCases.map(({ means: _, then: __, ...frame }) => frame),
    );
  });

  test.each(frameCases.filter((frame) => frame.event !== "log"))("$event is understood: $means", (frame) => {
    expect(decode(frame.event as "ping", JSON.stringify(frame.data), frame.id).type).toBe(frame.event);
  });
});

describe("a status frame", () => {
  /** The faults a page can find; what concerns the channel and the size is for servers. */
  const ours = eventCases.filter(
    ({ field, server_only }) => !server_only && field !== "channel" && field !== "too-deep",
  );

  test.each(ours.filter((c) => c.valid))("is read: $name", ({ payload }) => {
    const message = decode("status", payload, "1765584000000-0");
    expect(message).toMatchObject({
      type: "status",
      report: { seen: 1765584000000, ...JSON.parse(payload, dropWireOnly) },
    });
  });

  test.each(ours.filter((c) => !c.valid))("is refused: $name", ({ payload, field }) => {
    expect(() => decode("status", payload, "1765584000000-0")).toThrowError(new Malformed(field ?? ""));
  });

  test("without a feed id is refused, for it would have no time", () => {
    const payload = eventCases.find((c) => c.valid)?.payload ?? "";
    expect(() => decode("status", payload, "")).toThrowError(new Malformed("id"));
  });
});

describe("a board frame", () => {
  const board = frameCases[0]?.data as Record<string, unknown>;

  const parts = [
    "now",
    "observed_until",
    "observed_since",
    "blind",
    "ping_s",
    "version",
    "insecure",
    "expect",
  ];

  test.each([...parts, "instances", "incidents"])("without %s is refused", (part) => {
    const { [part]: _, ...rest } = board;
    expect(() => decode("board", JSON.stringify(rest), "1-0")).toThrowError(new Malformed(part));
  });

  test("with a beat every zero seconds is refused, or the watchdog would never rest", () => {
    expect(() => decode("board", JSON.stringify({ ...board, ping_s: 0 }), "1-0")).toThrow(Malformed);
  });
});

describe("how many a full board leaves out", () => {
  const { omitted: _, ...older } = { ...(frameCases[0]?.data as Record<string, unknown>) };
  const read = (more: object) => decode("board", JSON.stringify({ ...older, ...more }), "1-0");

  test("is nobody where an older server does not tell", () => {
    expect(read({})).toMatchObject({ type: "board", omitted: 0 });
  });

  test.each([[0], [10_000]])("is read: %j", (omitted) => {
    expect(read({ omitted })).toMatchObject({ omitted });
  });

  test.each([[-1], ["many"], [1.5]])("is refused: %j", (omitted) => {
    expect(() => read({ omitted })).toThrowError(new Malformed("omitted"));
  });
});

describe("when plain publishes were not heard", () => {
  const { gap: _, ...older } = { ...(frameCases[0]?.data as Record<string, unknown>) };
  const read = (more: object) => decode("board", JSON.stringify({ ...older, ...more }), "1-0");

  test("is what an older server does not tell", () => {
    expect(read({})).toMatchObject({ type: "board", gap: null });
  });

  test.each([[{ since: 5, until: null }], [{ since: 5, until: 7 }], [null]])("is read: %j", (gap) => {
    expect(read({ gap })).toMatchObject({ gap });
  });

  test.each([["soon"], [{}], [{ since: 5.5, until: null }], [{ since: 5, until: "now" }]])(
    "is refused: %j",
    (gap) => {
      expect(() => read({ gap })).toThrowError(new Malformed("gap"));
    },
  );
});

describe("a planned goodbye", () => {
  const read = (more: object) =>
    decode("status", JSON.stringify({ service: "a", timestamp: 1, status: {}, ...more }), "5-0");

  test("says for how long", () => {
    expect(read({ stopped: true, back_in_s: 60 })).toMatchObject({
      report: { stopped: true, back_in_s: 60 },
    });
    expect(read({ stopped: true })).toMatchObject({ report: { back_in_s: null } });
  });

  test.each([
    ["without a goodbye", { back_in_s: 60 }],
    ["for no time", { stopped: true, back_in_s: 0 }],
    ["for more than a day", { stopped: true, back_in_s: 86_401 }],
  ])("is refused %s", (_, more) => {
    expect(() => read(more)).toThrowError(new Malformed("back_in_s"));
  });
});

describe("a beat", () => {
  const read = (...beat: unknown[]) =>
    decode("heartbeats", JSON.stringify({ now: 1, observed_until: 1, heartbeats: [beat] }), "");

  test("tells the lag of an event loop where there is one", () => {
    expect(read("a", "x", 5, 12_000)).toMatchObject({ heartbeats: [{ seen: 5, lag_ms: 12_000 }] });
    expect(read("a", "x", 5)).toMatchObject({ heartbeats: [{ seen: 5, lag_ms: 0 }] });
  });

  test("that is too short, or lags by less than nothing, is refused", () => {
    expect(() => read("a", "x")).toThrow(Malformed);
    expect(() => read("a", "x", 5, -1)).toThrow(Malformed);
  });
});

describe("what becomes of an instance", () => {
  const read = (more: object, id = "5-0") =>
    decode("lifecycle", JSON.stringify({ service: "a", instance: "x", timestamp: 1, ...more }), id);

  test("may be something that this reader does not know, whatever comes with it", () => {
    expect(read({ event: "moved", incident: 7 })).toMatchObject({ event: "moved", incident: null });
  });

  test("is a loss only with its incident", () => {
    expect(() => read({ event: "lost" })).toThrowError(new Malformed("incident"));
  });

  test("has its place in the feed", () => {
    expect(() => read({ event: "gone" }, "")).toThrowError(new Malformed("id"));
  });
});

describe("the answer to a question for incidents", () => {
  const board = frameCases[0]?.data as { incidents: object[] } | undefined;
  const words = { ...board?.incidents[0], status: { done: 7 }, timestamp: 3, last_id: "2-0" };

  test("holds their last words", () => {
    const [found] = decodeIncidents(JSON.stringify({ incidents: [words] }));
    expect(found).toMatchObject({ service: "night-report", status: { done: 7 }, timestamp: 3 });
  });

  test("hold the last lines of the log", () => {
    const line = { id: "1-0.0", timestamp: 5, level: "error", message: "out of memory", fields: { free: 0 } };
    const [found] = decodeIncidents(JSON.stringify({ incidents: [{ ...words, lines: [line] }] }));
    expect(found?.lines).toEqual([
      { id: "1-0.0", timestamp: 5, level: "error", message: "out of memory", traceback: "" },
    ]);
    const broken = { incidents: [{ ...words, lines: [{ ...line, level: 3 }] }] };
    expect(() => decodeIncidents(JSON.stringify(broken))).toThrowError(new Malformed("level"));
  });

  test.each(["id", "seen", "declared", "cause", "status", "timestamp"])("without %s is refused", (part) => {
    const answer = { incidents: [{ ...words, [part]: undefined }] };
    expect(() => decodeIncidents(JSON.stringify(answer))).toThrowError(new Malformed(part));
  });
});

function dropWireOnly(this: Record<string, unknown>, key: string, value: unknown): unknown {
  return ["id", "host", "v"].includes(key) ? undefined : value;
}

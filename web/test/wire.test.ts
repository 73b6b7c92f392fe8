import { describe, expect, test } from "vitest";
import { idAfter, isAfter, timeOf } from "../src/wire/cursor";
import { decode, decodeIncidents } from "../src/wire/decode";
import { stateOf } from "../src/wire/state";
import { MalformedFrame } from "../src/wire/validators";
import { eventCases, frameCases, parseStream, stateCases, streamText } from "./fixtures";

describe("the state rule", () => {
  test.each(stateCases)("$name: $state", ({ name: _, state, ...signs }) => {
    expect(stateOf(signs)).toBe(state);
  });
});

describe("feed ids", () => {
  test("are ordered numerically, not alphabetically", () => {
    expect(isAfter("1000-0", "999-9")).toBe(true);
    expect(isAfter("5-10", "5-9")).toBe(true);
    expect(isAfter("5-9", "5-9")).toBe(false);
    expect(isAfter("5-0", "")).toBe(true);
    expect(isAfter("", "5-0")).toBe(false);
  });

  test("have a successor", () => {
    expect(idAfter("1765584000000-9")).toBe("1765584000000-10");
    expect(isAfter(idAfter("5-0"), "5-0")).toBe(true);
  });

  test("contain their time", () => {
    expect(timeOf("1765584000000-3")).toBe(1765584000000);
    expect(timeOf("latest")).toBeNull();
  });
});

describe("the golden stream", () => {
  const frames = parseStream(streamText);

  test("parses into the frames of stream.json", () => {
    expect(frames.map((frame) => ({ ...frame, data: JSON.parse(frame.data) }))).toEqual(
      frameCases.map(({ means: _, then: __, ...frame }) => frame),
    );
  });

  test.each(frameCases.filter((frame) => frame.event !== "log"))(
    "$event is decoded: $means",
    (frame) => {
      expect(decode(frame.event as "ping", JSON.stringify(frame.data), frame.id).type).toBe(
        frame.event,
      );
    },
  );
});

describe("a status frame", () => {
  /** The faults that a page can detect. Only servers check the channel and the size. */
  const ours = eventCases.filter(
    ({ field, server_only }) => !server_only && field !== "channel" && field !== "too-deep",
  );

  test.each(ours.filter((c) => c.valid))("is decoded: $name", ({ payload }) => {
    const message = decode("status", payload, "1765584000000-0");
    expect(message).toMatchObject({
      type: "status",
      report: { seen: 1765584000000, ...JSON.parse(payload, dropWireOnly) },
    });
  });

  test.each(ours.filter((c) => !c.valid))("is rejected: $name", ({ payload, field }) => {
    expect(() => decode("status", payload, "1765584000000-0")).toThrowError(
      new MalformedFrame(field ?? ""),
    );
  });

  test("without a feed id is rejected, because it has no time", () => {
    const payload = eventCases.find((c) => c.valid)?.payload ?? "";
    expect(() => decode("status", payload, "")).toThrowError(new MalformedFrame("id"));
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

  test.each([...parts, "instances", "incidents"])("without %s is rejected", (part) => {
    const { [part]: _, ...rest } = board;
    expect(() => decode("board", JSON.stringify(rest), "1-0")).toThrowError(
      new MalformedFrame(part),
    );
  });

  test("with a ping interval of zero is rejected, because the silence check would never pause", () => {
    expect(() => decode("board", JSON.stringify({ ...board, ping_s: 0 }), "1-0")).toThrow(
      MalformedFrame,
    );
  });
});

describe("the number of instances that a full board omits", () => {
  const { omitted: _, ...older } = { ...(frameCases[0]?.data as Record<string, unknown>) };
  const read = (more: object) => decode("board", JSON.stringify({ ...older, ...more }), "1-0");

  test("is 0 if an older server does not send it", () => {
    expect(read({})).toMatchObject({ type: "board", omitted: 0 });
  });

  test.each([[0], [10_000]])("is decoded: %j", (omitted) => {
    expect(read({ omitted })).toMatchObject({ omitted });
  });

  test.each([[-1], ["many"], [1.5]])("is rejected: %j", (omitted) => {
    expect(() => read({ omitted })).toThrowError(new MalformedFrame("omitted"));
  });
});

describe("a coverage gap", () => {
  const { gap: _, ...older } = { ...(frameCases[0]?.data as Record<string, unknown>) };
  const read = (more: object) => decode("board", JSON.stringify({ ...older, ...more }), "1-0");

  test("is null if an older server does not send it", () => {
    expect(read({})).toMatchObject({ type: "board", gap: null });
  });

  test.each([[{ since: 5, until: null }], [{ since: 5, until: 7 }], [null]])(
    "is decoded: %j",
    (gap) => {
      expect(read({ gap })).toMatchObject({ gap });
    },
  );

  test.each([["soon"], [{}], [{ since: 5.5, until: null }], [{ since: 5, until: "now" }]])(
    "is rejected: %j",
    (gap) => {
      expect(() => read({ gap })).toThrowError(new MalformedFrame("gap"));
    },
  );
});

describe("a planned return", () => {
  const read = (more: object) =>
    decode("status", JSON.stringify({ service: "a", timestamp: 1, status: {}, ...more }), "5-0");

  test("is decoded with its delay", () => {
    expect(read({ stopped: true, back_in_s: 60 })).toMatchObject({
      report: { stopped: true, back_in_s: 60 },
    });
    expect(read({ stopped: true })).toMatchObject({ report: { back_in_s: null } });
  });

  test.each([
    ["without a graceful stop", { back_in_s: 60 }],
    ["for zero seconds", { stopped: true, back_in_s: 0 }],
    ["for more than a day", { stopped: true, back_in_s: 86_401 }],
  ])("is rejected %s", (_, more) => {
    expect(() => read(more)).toThrowError(new MalformedFrame("back_in_s"));
  });
});

describe("a heartbeat", () => {
  const read = (...heartbeat: unknown[]) =>
    decode(
      "heartbeats",
      JSON.stringify({ now: 1, observed_until: 1, heartbeats: [heartbeat] }),
      "",
    );

  test("has the lag of an event loop if there is one", () => {
    expect(read("a", "x", 5, 12_000)).toMatchObject({ heartbeats: [{ seen: 5, lag_ms: 12_000 }] });
    expect(read("a", "x", 5)).toMatchObject({ heartbeats: [{ seen: 5, lag_ms: 0 }] });
  });

  test("that is too short, or has a negative lag, is rejected", () => {
    expect(() => read("a", "x")).toThrow(MalformedFrame);
    expect(() => read("a", "x", 5, -1)).toThrow(MalformedFrame);
  });
});

describe("a lifecycle event", () => {
  const read = (more: object, id = "5-0") =>
    decode("lifecycle", JSON.stringify({ service: "a", instance: "x", timestamp: 1, ...more }), id);

  test("may be unknown to the page, with any further fields", () => {
    expect(read({ event: "moved", incident: 7 })).toMatchObject({ event: "moved", incident: null });
  });

  test("is a loss only with its incident", () => {
    expect(() => read({ event: "lost" })).toThrowError(new MalformedFrame("incident"));
  });

  test("must have a feed id", () => {
    expect(() => read({ event: "gone" }, "")).toThrowError(new MalformedFrame("id"));
  });
});

describe("the response of the incidents endpoint", () => {
  const board = frameCases[0]?.data as { incidents: object[] } | undefined;
  const words = { ...board?.incidents[0], status: { done: 7 }, timestamp: 3, last_id: "2-0" };

  test("has the last words", () => {
    const [found] = decodeIncidents(JSON.stringify({ incidents: [words] }));
    expect(found).toMatchObject({ service: "night-report", status: { done: 7 }, timestamp: 3 });
  });

  test("has the last log lines", () => {
    const line = {
      id: "1-0.0",
      timestamp: 5,
      level: "error",
      message: "out of memory",
      fields: { free: 0 },
    };
    const [found] = decodeIncidents(JSON.stringify({ incidents: [{ ...words, lines: [line] }] }));
    expect(found?.lines).toEqual([
      { id: "1-0.0", timestamp: 5, level: "error", message: "out of memory", traceback: "" },
    ]);
    const broken = { incidents: [{ ...words, lines: [{ ...line, level: 3 }] }] };
    expect(() => decodeIncidents(JSON.stringify(broken))).toThrowError(new MalformedFrame("level"));
  });

  test.each(["id", "seen", "declared", "cause", "status", "timestamp"])(
    "without %s is rejected",
    (part) => {
      const response = { incidents: [{ ...words, [part]: undefined }] };
      expect(() => decodeIncidents(JSON.stringify(response))).toThrowError(
        new MalformedFrame(part),
      );
    },
  );
});

function dropWireOnly(this: Record<string, unknown>, key: string, value: unknown): unknown {
  return ["id", "host", "v"].includes(key) ? undefined : value;
}

import { describe, expect, test } from "vitest";
import { isAfter, timeOf } from "../src/wire/cursor";
import { decode, Malformed } from "../src/wire/decode";
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
      instance: { seen: 1765584000000, ...JSON.parse(payload, dropWireOnly) },
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

  test.each(["now", "blind", "ping_s", "version", "insecure", "expect", "instances"])(
    "without %s is refused",
    (part) => {
      const { [part]: _, ...rest } = board;
      expect(() => decode("board", JSON.stringify(rest), "1-0")).toThrowError(new Malformed(part));
    },
  );

  test("with a beat every zero seconds is refused, or the watchdog would never rest", () => {
    expect(() => decode("board", JSON.stringify({ ...board, ping_s: 0 }), "1-0")).toThrow(Malformed);
  });
});

function dropWireOnly(this: Record<string, unknown>, key: string, value: unknown): unknown {
  return ["id", "host", "v"].includes(key) ? undefined : value;
}

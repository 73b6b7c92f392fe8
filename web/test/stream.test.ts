import { afterEach, beforeEach, describe, expect, test, vi } from "vitest";
import type { ConnectionState } from "../src/stream/connection";
import { BoardStream } from "../src/stream/stream";
import type { Message } from "../src/wire/message";
import { BOARD, FakeSource } from "./fake-source";

let stream: BoardStream;
let messages: Message[];
let connections: ConnectionState[];
let dropped: number;

const PING = { now: 5, observed_until: 5, observed_since: 0, blind: null };

const status = () => connections.at(-1)?.status;
const setVisibility = (state: "visible" | "hidden") => {
  vi.spyOn(document, "visibilityState", "get").mockReturnValue(state);
  document.dispatchEvent(new Event("visibilitychange"));
};

beforeEach(() => {
  vi.useFakeTimers();
  vi.stubGlobal("EventSource", FakeSource);
  vi.spyOn(Math, "random").mockReturnValue(1);
  FakeSource.all = [];
  messages = [];
  connections = [];
  dropped = 0;
  stream = new BoardStream("/api/stream", {
    onMessage: (message) => messages.push(message),
    onConnection: (connection) => connections.push(connection),
    onFrame: () => {},
    onDropped: (count) => {
      dropped = count;
    },
  });
  stream.start();
});

afterEach(() => {
  stream.stop();
  vi.useRealTimers();
  vi.unstubAllGlobals();
  vi.restoreAllMocks();
});

function connect(): FakeSource {
  FakeSource.last.open();
  FakeSource.last.send("board", BOARD, "7-1");
  return FakeSource.last;
}

describe("the stream", () => {
  test("opens once, requests the whole stream and passes on its messages", () => {
    expect(FakeSource.all.map((source) => source.url)).toEqual(["/api/stream"]);
    connect();
    FakeSource.last.send("ping", PING);
    expect(messages.map((message) => message.type)).toEqual(["board", "ping"]);
    expect(status()).toBe("connected");
  });

  test("reconnects after an error with the last id that it received", () => {
    const first = connect();
    first.fail();
    expect(first.readyState).toBe(FakeSource.CLOSED);
    expect(status()).toBe("reconnecting");
    vi.advanceTimersByTime(499);
    expect(FakeSource.all).toHaveLength(1);
    vi.advanceTimersByTime(1);
    expect(FakeSource.last.url).toBe("/api/stream?since=7-1");
    FakeSource.last.open();
    expect(status()).toBe("connected");
  });

  test("reconnects after the browser gave up, as it does after a 503", () => {
    FakeSource.last.fail(FakeSource.CLOSED);
    vi.advanceTimersByTime(500);
    expect(FakeSource.all).toHaveLength(2);
  });

  test("waits longer after each attempt, is disconnected after three, and never gives up", () => {
    connect();
    const waits: number[] = [];
    for (let i = 0; i < 8; i += 1) {
      FakeSource.last.fail();
      const before = FakeSource.all.length;
      let ms = 0;
      while (FakeSource.all.length === before) {
        vi.advanceTimersByTime(50);
        ms += 50;
      }
      waits.push(ms);
      expect(status()).toBe(i < 2 ? "reconnecting" : "disconnected");
    }
    expect(waits).toEqual([500, 1000, 2000, 4000, 8000, 15_000, 15_000, 15_000]);
  });

  test("keeps the query of its URL when it reconnects", () => {
    const some = new BoardStream("/api/stream?kinds=status,heartbeats", {
      onMessage: () => {},
      onConnection: () => {},
      onFrame: () => {},
      onDropped: () => {},
    });
    some.start();
    connect();
    FakeSource.last.fail();
    vi.advanceTimersByTime(500);
    expect(FakeSource.last.url).toBe("/api/stream?kinds=status,heartbeats&since=7-1");
    some.stop();
  });

  test("keeps its cursor during a long absence of the server", () => {
    connect();
    for (let i = 0; i < 10; i += 1) {
      FakeSource.last.fail();
      vi.advanceTimersByTime(15_000);
    }
    expect(FakeSource.last.url).toBe("/api/stream?since=7-1");
  });

  test.each([
    ["refused", () => FakeSource.last.fail(FakeSource.CLOSED)],
    [
      "ended at once",
      () => {
        FakeSource.last.open();
        FakeSource.last.fail();
      },
    ],
  ])(
    "drops its cursor when it was %s three times, for it may be what the server stumbles over",
    (_, end) => {
      connect();
      vi.advanceTimersByTime(5000);
      FakeSource.last.fail();
      vi.advanceTimersByTime(500);
      for (let i = 0; i < 2; i += 1) {
        expect(FakeSource.last.url).toBe("/api/stream?since=7-1");
        end();
        vi.advanceTimersByTime(15_000);
      }
      expect(FakeSource.last.url).toBe("/api/stream");
    },
  );

  test("resets its backoff after a stable connection", () => {
    for (let i = 0; i < 4; i += 1) {
      FakeSource.last.fail();
      vi.advanceTimersByTime(15_000);
    }
    connect();
    vi.advanceTimersByTime(5000);
    FakeSource.last.fail();
    expect(status()).toBe("reconnecting");
    vi.advanceTimersByTime(500);
    expect(FakeSource.all).toHaveLength(6);
  });

  test("does not hammer a server that accepts connections and then crashes", () => {
    for (let i = 0; i < 6; i += 1) {
      connect();
      vi.advanceTimersByTime(1000);
      FakeSource.last.fail();
      if (i < 5) vi.advanceTimersByTime(15_000);
    }
    const before = FakeSource.all.length;
    vi.advanceTimersByTime(14_999);
    expect(FakeSource.all).toHaveLength(before);
  });

  test("spreads its attempts over the whole wait", () => {
    vi.mocked(Math.random).mockReturnValue(0.5);
    connect().fail();
    vi.advanceTimersByTime(250);
    expect(FakeSource.all).toHaveLength(2);
  });

  test("resumes after the last frame with an id; a frame without an id does not change the cursor", () => {
    connect();
    FakeSource.last.send("skipped", { reason: "slow", skipped: { status: 3 } }, "7-1");
    FakeSource.last.send("status", { service: "a", timestamp: 1, status: {} }, "9-0");
    FakeSource.last.send("reset", { reason: "failover" }, "9-0");
    FakeSource.last.fail();
    vi.advanceTimersByTime(500);
    expect(FakeSource.last.url).toBe("/api/stream?since=9-0");
  });

  test("reports why it was lost", () => {
    const fault = () => connections.at(-1)?.fault;
    connect();
    expect(fault()).toBeNull();
    FakeSource.last.fail();
    expect(fault()).toBe("ended");
    vi.advanceTimersByTime(500);
    FakeSource.last.fail();
    expect(fault()).toBe("ended");
    vi.advanceTimersByTime(1000);
    FakeSource.last.fail(FakeSource.CLOSED);
    expect(fault()).toBe("refused");
    vi.advanceTimersByTime(2000);
    connect();
    vi.advanceTimersByTime(15_000);
    expect(fault()).toBe("silent");
    vi.advanceTimersByTime(15_000);
    connect();
    FakeSource.last.send("bye", { reason: "shutdown" });
    FakeSource.last.fail();
    expect(fault()).toBe("bye");
    vi.spyOn(navigator, "onLine", "get").mockReturnValue(false);
    window.dispatchEvent(new Event("offline"));
    expect(fault()).toBe("offline");
  });

  test("reports no-answer if the server never responded", () => {
    FakeSource.last.fail();
    expect(connections.at(-1)?.fault).toBe("no-answer");
  });

  test("ignores frames of a closed connection", () => {
    const first = connect();
    first.fail();
    first.send("ping", PING);
    first.open();
    expect(messages).toHaveLength(1);
    expect(status()).toBe("reconnecting");
  });

  test("leaves the wait after a bye to the browser, because only it can read `retry:`", () => {
    const source = connect();
    source.send("bye", { reason: "shutdown" });
    source.fail();
    expect(source.readyState).toBe(FakeSource.CONNECTING);
    expect(status()).toBe("reconnecting");
    vi.advanceTimersByTime(3000);
    expect(FakeSource.all).toHaveLength(1);
    source.open();
    expect(status()).toBe("connected");
    expect(FakeSource.all).toHaveLength(1);
  });

  test("takes over if the browser does not reconnect in time, or fails", () => {
    const source = connect();
    source.send("bye", { reason: "shutdown" });
    source.fail();
    source.fail();
    vi.advanceTimersByTime(500);
    expect(FakeSource.all).toHaveLength(2);

    FakeSource.last.open();
    vi.advanceTimersByTime(5000);
    FakeSource.last.send("bye", { reason: "shutdown" });
    FakeSource.last.fail();
    vi.advanceTimersByTime(10_500);
    expect(FakeSource.all).toHaveLength(3);
  });
});

describe("the watchdog", () => {
  test("closes a connection that was silent for three ping intervals", () => {
    connect();
    vi.advanceTimersByTime(14_999);
    expect(status()).toBe("connected");
    vi.advanceTimersByTime(1);
    expect(status()).toBe("reconnecting");
    vi.advanceTimersByTime(500);
    expect(FakeSource.all).toHaveLength(2);
  });

  test("accepts any frame as a sign of life, including a malformed one", () => {
    vi.spyOn(console, "warn").mockImplementation(() => {});
    const source = connect();
    for (let i = 0; i < 10; i += 1) {
      vi.advanceTimersByTime(10_000);
      source.send("ping", i % 2 ? "?" : PING);
    }
    expect(status()).toBe("connected");
    expect(FakeSource.all).toHaveLength(1);
  });

  test("uses the ping interval that the server declares", () => {
    FakeSource.last.open();
    FakeSource.last.send("board", { ...BOARD, ping_s: 1 });
    vi.advanceTimersByTime(3000);
    expect(status()).toBe("reconnecting");

    vi.advanceTimersByTime(500);
    FakeSource.last.open();
    FakeSource.last.send("board", { ...BOARD, ping_s: 60 });
    vi.advanceTimersByTime(179_000);
    expect(status()).toBe("connected");
  });

  test("requires frames: an open connection alone is not enough", () => {
    FakeSource.last.open();
    vi.advanceTimersByTime(15_000);
    expect(status()).toBe("reconnecting");
  });

  test("detects a sleep that stopped the timers within a second of waking", () => {
    connect();
    vi.setSystemTime(Date.now() + 3_600_000);
    vi.advanceTimersByTime(1000);
    expect(status()).toBe("reconnecting");
    vi.advanceTimersByTime(500);
    expect(FakeSource.last.url).toBe("/api/stream?since=7-1");
  });

  test("closes a connection that never opens", () => {
    vi.advanceTimersByTime(15_500);
    expect(FakeSource.all).toHaveLength(2);
  });
});

describe("a page that becomes visible again", () => {
  test("reopens at once after a sleep that froze the timers", () => {
    connect();
    vi.setSystemTime(Date.now() + 3_600_000);
    setVisibility("visible");
    expect(FakeSource.all).toHaveLength(2);
    expect(FakeSource.last.url).toBe("/api/stream?since=7-1");
  });

  test("keeps a connection that received a frame recently", () => {
    connect();
    vi.advanceTimersByTime(5000);
    setVisibility("visible");
    expect(FakeSource.all).toHaveLength(1);
    expect(status()).toBe("connected");
  });

  test("reopens at once if the browser closed its connection without an event", () => {
    connect().close();
    window.dispatchEvent(new PageTransitionEvent("pageshow", { persisted: true }));
    expect(FakeSource.all).toHaveLength(2);
    expect(status()).toBe("reconnecting");
  });

  test("ends a long wait at once", () => {
    for (let i = 0; i < 6; i += 1) {
      FakeSource.last.fail();
      if (i < 5) vi.advanceTimersByTime(15_000);
    }
    const before = FakeSource.all.length;
    setVisibility("hidden");
    expect(FakeSource.all).toHaveLength(before);
    window.dispatchEvent(new Event("online"));
    expect(FakeSource.all).toHaveLength(before);
    setVisibility("visible");
    expect(FakeSource.all).toHaveLength(before + 1);
    vi.advanceTimersByTime(14_999);
    expect(FakeSource.all).toHaveLength(before + 1);
  });

  test("is disconnected while the browser is offline, unless the stream continues", () => {
    vi.spyOn(navigator, "onLine", "get").mockReturnValue(false);
    const source = connect();
    window.dispatchEvent(new Event("offline"));
    expect(status()).toBe("connected");
    source.fail();
    expect(status()).toBe("disconnected");
  });
});

describe("a malformed frame", () => {
  test.each([
    ["no JSON", "{"],
    ["the wrong shape", { heartbeats: 1 }],
    ["null", null],
  ])("is dropped and counted: %s", (_, data) => {
    vi.spyOn(console, "warn").mockImplementation(() => {});
    connect();
    FakeSource.last.send("heartbeats", data, "8-0");
    FakeSource.last.send("ping", PING);
    expect(dropped).toBe(1);
    expect(messages.map((message) => message.type)).toEqual(["board", "ping"]);
  });

  test("is logged to the console once in ten seconds", () => {
    const warn = vi.spyOn(console, "warn").mockImplementation(() => {});
    connect();
    for (let i = 0; i < 50; i += 1) FakeSource.last.send("status", "?");
    expect(warn).toHaveBeenCalledTimes(1);
    vi.advanceTimersByTime(10_000);
    FakeSource.last.send("status", "?");
    expect(warn).toHaveBeenCalledTimes(2);
    expect(dropped).toBe(51);
  });
});

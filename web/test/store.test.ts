import { effect } from "@preact/signals";
import { afterEach, beforeEach, describe, expect, test, vi } from "vitest";
import { arrange } from "../src/store/arrange";
import { Board } from "../src/store/board";
import { Fields } from "../src/store/fields";
import { Filter } from "../src/store/filter";
import { Pacer } from "../src/store/pacer";
import { ThemeChoice } from "../src/store/theme";
import type { Instance, Message } from "../src/wire/message";
import { frameCases, messageOf } from "./fixtures";

const T = 1_765_584_000_000;

function instance(over: Partial<Instance> = {}): Instance {
  const seen = over.seen ?? T;
  return {
    service: "balance-sync",
    instance: "w1:11",
    timestamp: seen,
    status: {},
    beat_s: 5,
    goodbye: false,
    id: `${seen}-0`,
    seen,
    ...over,
  };
}

function boardMessage(instances: Instance[], over: object = {}): Message {
  return {
    type: "board",
    now: T,
    blind: null,
    ping_s: 5,
    version: "1",
    insecure: false,
    expect: [],
    instances,
    ...over,
  };
}

const CONNECTED = { status: "connected", failures: 0, opened: 1 } as const;

function connected(...messages: Message[]): Board {
  const board = new Board();
  board.sight.turn(CONNECTED);
  board.apply(messages);
  return board;
}

function states(board: Board): Record<string, string> {
  return Object.fromEntries(board.instances.value.map((model) => [model.key, model.state.value]));
}

beforeEach(() => {
  vi.useFakeTimers({ now: T });
});

afterEach(() => {
  vi.useRealTimers();
  vi.restoreAllMocks();
});

describe("the board", () => {
  test("follows the golden stream, frame by frame", () => {
    const board = connected();
    for (const frame of frameCases) {
      const message = messageOf(frame);
      if (message) board.apply([message]);
      expect(states(board), frame.means).toEqual(frame.then);
    }
  });

  test("keeps an instance, and what hangs on it, across a new board", () => {
    const board = connected(boardMessage([instance()]));
    const before = board.instances.value[0];
    board.apply([boardMessage([instance({ status: { done: 1 } })])]);
    expect(board.instances.value[0]).toBe(before);
    expect(before?.fields.rows.value.map((row) => row.path)).toEqual(["done"]);
  });

  test("leaves a replayed status out", () => {
    const board = connected(boardMessage([instance({ status: { done: 2 }, id: `${T}-5` })]));
    board.apply([{ type: "status", instance: instance({ status: { done: 1 }, id: `${T}-4` }) }]);
    expect(board.instances.value[0]?.fields.rows.value[0]?.value.value).toBe(2);
  });

  test("puts expected services first, in the order they were named, then the others by name", () => {
    const others = ["web-10", "web-9", "core"].map((service) => instance({ service }));
    const board = connected(boardMessage(others, { expect: ["zeta", "alpha"] }));
    expect(board.instances.value.map((model) => model.service)).toEqual([
      "zeta",
      "alpha",
      "core",
      "web-9",
      "web-10",
    ]);
  });

  test("stays bounded: the instance not seen for longest gives way", () => {
    const board = connected(boardMessage([instance({ instance: "old", seen: T - 9e6 })]));
    for (let i = 0; i < 2000; i += 1) {
      board.apply([{ type: "status", instance: instance({ instance: `w${i}`, seen: T + i }) }]);
    }
    expect(board.instances.value).toHaveLength(2000);
    expect(board.instances.value.some((model) => model.instance === "old")).toBe(false);
  });

  test("counts trouble: late, lost and missing", () => {
    const board = connected(
      boardMessage(
        [
          instance({ instance: "a" }),
          instance({ instance: "b", seen: T - 15_000 }),
          instance({ instance: "c", seen: T - 60_000 }),
          instance({ instance: "d", goodbye: true }),
        ],
        { expect: ["nowhere"] },
      ),
    );
    expect(board.counts.value).toMatchObject({ alive: 1, late: 1, lost: 1, stopped: 1, missing: 1 });
    expect(board.trouble.value).toBe(3);
  });

  test("lets time pass by itself", () => {
    const board = connected(boardMessage([instance()]));
    board.clock.start();
    vi.advanceTimersByTime(11_000);
    expect(states(board)).toEqual({ "balance-sync/w1:11": "alive" });
    vi.advanceTimersByTime(1000);
    expect(states(board)).toEqual({ "balance-sync/w1:11": "late" });
    vi.advanceTimersByTime(10_000);
    expect(states(board)).toEqual({ "balance-sync/w1:11": "lost" });
    board.clock.stop();
  });

  test("goes by the server's clock, whatever the browser's says", () => {
    vi.setSystemTime(T + 86_400_000);
    expect(states(connected(boardMessage([instance()])))).toEqual({ "balance-sync/w1:11": "alive" });
  });
});

describe("what cannot be seen", () => {
  const ping = (now: number, blind: { since: number; reason: string } | null = null): Message => ({
    type: "ping",
    now,
    blind,
  });

  test("is unknown once the server is lost, and until something is heard again", () => {
    const board = connected(boardMessage([instance()]));
    board.sight.turn({ status: "reconnecting", failures: 1, opened: 1 });
    expect(states(board)).toEqual({ "balance-sync/w1:11": "unknown" });
    board.sight.turn({ status: "connected", failures: 0, opened: 2 });
    expect(states(board)).toEqual({ "balance-sync/w1:11": "unknown" });
    board.apply([ping(T + 2000)]);
    expect(states(board)).toEqual({ "balance-sync/w1:11": "alive" });
  });

  test("is not called lost for beats that nobody could have heard", () => {
    const board = connected(boardMessage([instance()]));
    board.sight.turn({ status: "reconnecting", failures: 1, opened: 1 });
    board.sight.turn({ status: "connected", failures: 0, opened: 2 });
    board.apply([ping(T + 60_000)]);
    expect(states(board)).toEqual({ "balance-sync/w1:11": "unknown" });
    board.apply([{ type: "beats", now: T + 62_000, beats: [["balance-sync", "w1:11", T + 61_500]] }]);
    expect(states(board)).toEqual({ "balance-sync/w1:11": "alive" });
  });

  test("is called lost when it stays silent for a whole rhythm after we could hear again", () => {
    const board = connected(boardMessage([instance()]));
    board.apply([ping(T + 1000, { since: T, reason: "gone" })]);
    board.apply([ping(T + 60_000)]);
    expect(states(board)).toEqual({ "balance-sync/w1:11": "unknown" });
    board.apply([ping(T + 71_001)]);
    expect(states(board)).toEqual({ "balance-sync/w1:11": "lost" });
  });

  test("a first board is believed: its server was listening all along", () => {
    expect(states(connected(boardMessage([instance({ seen: T - 60_000 })])))).toEqual({
      "balance-sync/w1:11": "lost",
    });
  });
});

describe("fields", () => {
  const paths = (fields: Fields) => fields.rows.value.map((row) => row.path);

  test("wake only for the value that changed", () => {
    const fields = new Fields();
    fields.apply({ a: 1, b: { c: [1, 2], d: "x" } });
    const woken: string[] = [];
    let structure = 0;
    effect(() => {
      structure += 1;
      for (const row of fields.rows.value) {
        effect(() => {
          row.value.value;
          woken.push(row.path);
        });
      }
    });
    woken.length = 0;
    fields.apply({ a: 1, b: { c: [1, 2], d: "y" } });
    expect(woken).toEqual(["b.d"]);
    expect(structure).toBe(1);
  });

  test("keep their place, whatever order a status comes in, and when they come and go", () => {
    const fields = new Fields();
    fields.apply({ a: 1, b: { x: 1, y: 2 }, c: 3 });
    fields.apply({ c: 3, b: { y: 2, x: 1 }, a: 1 });
    expect(paths(fields)).toEqual(["a", "b", "b.x", "b.y", "c"]);
    fields.apply({ a: 1, c: 3 });
    expect(paths(fields)).toEqual(["a", "c"]);
    fields.apply({ c: 3, d: 0, b: { y: 2, z: 3 }, a: 1 });
    expect(paths(fields)).toEqual(["a", "b", "b.y", "b.z", "c", "d"]);
  });

  test("may turn from a value to an object and back", () => {
    const fields = new Fields();
    fields.apply({ a: 1 });
    fields.apply({ a: { b: 2 } });
    expect(fields.rows.value.map((row) => row.heading)).toEqual([true, false]);
    fields.apply({ a: 3 });
    expect(fields.rows.value.map((row) => row.value.value)).toEqual([3]);
  });

  test("do not remember keys without end", () => {
    const fields = new Fields();
    for (let i = 0; i < 5000; i += 1) fields.apply({ [`k${i}`]: i });
    const memory = fields as unknown as { known: Map<string, unknown>; order: Map<string, string[]> };
    expect(memory.known.size).toBeLessThan(1000);
    expect(memory.order.get("")?.length).toBeLessThan(1000);
  });

  test("take keys that are no plain words", () => {
    const fields = new Fields();
    fields.apply(JSON.parse('{"__proto__":1,"constructor":2,"":3,"a.b":4}'));
    expect(fields.rows.value.map((row) => row.value.value)).toEqual([1, 2, 3, 4]);
  });
});

describe("the pacer", () => {
  const status = (n: number, name = `w${n % 3}`): Message => ({
    type: "status",
    instance: instance({ instance: name, status: { n }, id: `${T + n}-0` }),
  });

  test("applies in the same task while little comes", () => {
    const applied: number[] = [];
    const pacer = new Pacer((messages) => applied.push(messages.length));
    pacer.offer(status(1));
    pacer.offer(status(2));
    expect(applied).toEqual([1, 1]);
  });

  test("applies once a frame under load, the latest of each instance, in order", () => {
    const flushes: Message[][] = [];
    const pacer = new Pacer((messages) => flushes.push([...messages]));
    for (let n = 0; n < 1000; n += 1) pacer.offer(status(n));
    expect(flushes).toHaveLength(25);
    vi.advanceTimersByTime(300);
    expect(flushes).toHaveLength(26);
    expect(flushes[25]?.map((message) => message.type === "status" && message.instance.status["n"])).toEqual([
      997, 998, 999,
    ]);
  });

  test("also while the page is hidden and gets no frames", () => {
    vi.spyOn(document, "visibilityState", "get").mockReturnValue("hidden");
    const frame = vi.spyOn(globalThis, "requestAnimationFrame");
    const flushes: number[] = [];
    const pacer = new Pacer((messages) => flushes.push(messages.length));
    for (let n = 0; n < 100; n += 1) pacer.offer(status(n));
    vi.advanceTimersByTime(250);
    expect(frame).not.toHaveBeenCalled();
    expect(flushes.at(-1)).toBe(3);
  });

  test("lets nothing wait without bound", () => {
    let most = 0;
    const pacer = new Pacer((messages) => {
      most = Math.max(most, messages.length);
    });
    for (let n = 0; n < 10_000; n += 1) pacer.offer(status(n, `w${n}`));
    expect(most).toBe(2000);
  });

  test("lets a board take the place of all that waited before it", () => {
    const flushes: Message[][] = [];
    const pacer = new Pacer((messages) => flushes.push([...messages]));
    for (let n = 0; n < 50; n += 1) pacer.offer(status(n));
    pacer.offer(boardMessage([]));
    pacer.offer(status(99));
    pacer.flush();
    expect(flushes.at(-1)?.map((message) => message.type)).toEqual(["board", "status"]);
  });
});

describe("the arrangement", () => {
  const views = (instances: Instance[]) => arrange(connected(boardMessage(instances)).instances.value);

  test("folds what has ended below a live one", () => {
    const [view] = views([instance({ instance: "a", goodbye: true }), instance({ instance: "b" })]);
    expect(view?.shown.map((model) => model.instance)).toEqual(["b"]);
    expect(view?.folded.map((model) => model.instance)).toEqual(["a"]);
  });

  test("keeps a lost one in view beside a live one, but not a crowd of them", () => {
    const lost = ["a", "b", "c"].map((name) => instance({ instance: name, seen: T - 60_000 }));
    const live = instance({ instance: "z" });
    expect(views([...lost.slice(0, 1), live])[0]?.shown.map((model) => model.instance)).toEqual(["z", "a"]);
    expect(views([...lost, live])[0]?.shown.map((model) => model.instance)).toEqual(["z"]);
  });

  test("shows the one seen last when all have stopped", () => {
    const [view] = views([
      instance({ instance: "a", goodbye: true, seen: T - 90_000 }),
      instance({ instance: "b", goodbye: true, seen: T - 50_000 }),
      instance({ instance: "c", goodbye: true, seen: T - 70_000 }),
    ]);
    expect(view?.shown.map((model) => model.instance)).toEqual(["b"]);
    expect(view?.folded.map((model) => model.instance)).toEqual(["a", "c"]);
  });

  test("of several live ones, shows a few ended below and folds many", () => {
    const live = ["x", "y"].map((name) => instance({ instance: name }));
    const ended = ["a", "b", "c"].map((name) => instance({ instance: name, goodbye: true }));
    expect(views([...live, ...ended.slice(0, 2)])[0]?.shown.map((model) => model.instance)).toEqual([
      "x",
      "y",
      "a",
      "b",
    ]);
    expect(views([...live, ...ended])[0]?.folded).toHaveLength(3);
  });
});

describe("the filter", () => {
  afterEach(() => window.history.replaceState(null, "", "/services"));

  test("lives in the URL, both ways", () => {
    window.history.replaceState(null, "", "/services?state=lost,nonsense&q=sync&other=1");
    const filter = new Filter();
    filter.start();
    expect([...filter.states.value]).toEqual(["lost"]);
    expect(filter.query.value).toBe("sync");
    filter.toggle("late");
    filter.search("");
    expect(window.location.search).toBe("?state=lost,late&other=1");
    filter.clear();
    expect(window.location.search).toBe("?other=1");
    filter.stop();
  });

  test("passes what has the state and every word", () => {
    const board = connected(boardMessage([instance({ status: { phase: "waiting" } })]));
    const [model] = board.instances.value;
    const filter = new Filter();
    const passes = (query: string) => {
      filter.query.value = query;
      return model && filter.passes(model);
    };
    expect(passes("SYNC w1")).toBe(true);
    expect(passes("waiting")).toBe(true);
    expect(passes("sync nothing")).toBe(false);
    filter.states.value = new Set(["lost"]);
    expect(passes("")).toBe(false);
  });
});

describe("the theme", () => {
  test("is kept, and is no error where nothing can be kept", () => {
    localStorage.clear();
    const choice = new ThemeChoice();
    const stop = choice.start();
    choice.next();
    expect(document.documentElement.dataset["theme"]).toBe("light");
    expect(new ThemeChoice().theme.value).toBe("light");
    vi.spyOn(Storage.prototype, "setItem").mockImplementation(() => {
      throw new Error("full");
    });
    choice.next();
    expect(choice.theme.value).toBe("dark");
    choice.next();
    expect(document.documentElement.dataset["theme"]).toBeUndefined();
    stop();
  });
});

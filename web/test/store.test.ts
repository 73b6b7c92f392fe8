import { effect } from "@preact/signals";
import { afterEach, beforeEach, describe, expect, test, vi } from "vitest";
import { arrange, type ServiceView } from "../src/store/arrange";
import { Board } from "../src/store/board";
import { Fields } from "../src/store/fields";
import { Filter } from "../src/store/filter";
import { FrameBatcher } from "../src/store/frame-batcher";
import { outcomeOf } from "../src/store/incidents";
import type { InstanceModel } from "../src/store/instance";
import { ThemeChoice } from "../src/store/theme";
import type { Incident, Instance, Message } from "../src/wire/message";
import { frameCases, messageOf } from "./fixtures";

const T = 1_765_584_000_000;

function instance(over: Partial<Instance> = {}): Instance {
  const seen = over.seen ?? T;
  return {
    service: "balance-sync",
    instance: "w1:11",
    timestamp: seen,
    status: {},
    heartbeat_s: 5,
    stopped: false,
    back_in_s: null,
    lost: false,
    lag_ms: 0,
    id: `${seen}-0`,
    seen,
    ...over,
  };
}

function boardMessage(instances: Instance[], over: object = {}): Message {
  return {
    type: "board",
    now: T,
    observed_until: T,
    observed_since: 0,
    blind: null,
    gap: null,
    omitted: 0,
    ping_s: 5,
    version: "1",
    insecure: false,
    expect: [],
    instances,
    incidents: [],
    ...over,
  };
}

/** Every heartbeat up to `now` was received, unless `over` overrides that. */
function ping(now: number, over: object = {}): Message {
  return {
    type: "ping",
    now,
    observed_until: now,
    observed_since: 0,
    blind: null,
    gap: null,
    omitted: 0,
    ...over,
  };
}

/** One heartbeat 100 ms before `now`; every heartbeat up to `now` was received. */
function heartbeats(now: number, over: object = {}): Message {
  const heartbeat = {
    service: "balance-sync",
    instance: "w1:11",
    seen: now - 100,
    lag_ms: 0,
    ...over,
  };
  return { type: "heartbeats", now, observed_until: now, heartbeats: [heartbeat] };
}

function incident(declared: number): Incident {
  const seen = Math.min(T, declared - 1);
  const source = { service: "balance-sync", instance: "w1:11", heartbeat_s: 5 };
  return {
    id: `${declared}-0`,
    ...source,
    seen: declared === T ? T : seen,
    declared,
    cause: "silent",
  };
}

const KEY = "balance-sync/w1:11";
const CONNECTED = { status: "connected", failures: 0, opened: 1, fault: null } as const;

function connected(...messages: Message[]): Board {
  const board = new Board();
  board.freshness.setConnection(CONNECTED);
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

  test("keeps the models of an instance across a new board", () => {
    const board = connected(boardMessage([instance()]));
    const before = board.instances.value[0];
    board.apply([boardMessage([instance({ status: { done: 1 } })])]);
    expect(board.instances.value[0]).toBe(before);
    expect(before?.fields.rows.value.map((row) => row.path)).toEqual(["done"]);
  });

  test("ignores a replayed status", () => {
    const board = connected(boardMessage([instance({ status: { done: 2 }, id: `${T}-5` })]));
    board.apply([{ type: "status", report: instance({ status: { done: 1 }, id: `${T}-4` }) }]);
    expect(board.instances.value[0]?.fields.rows.value[0]?.value.value).toBe(2);
  });

  test("sorts expected services first, in their order, then the others by name", () => {
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

  test("is bounded: the instance that was seen least recently is removed", () => {
    const board = connected(boardMessage([instance({ instance: "old", seen: T - 9e6 })]));
    for (let i = 0; i < 2000; i += 1) {
      board.apply([{ type: "status", report: instance({ instance: `w${i}`, seen: T + i }) }]);
    }
    expect(board.instances.value).toHaveLength(2000);
    expect(board.instances.value.some((model) => model.instance === "old")).toBe(false);
  });

  test("counts trouble: late, lost and missing", () => {
    const board = connected(
      boardMessage(
        [
          instance({ instance: "a" }),
          instance({ instance: "b", seen: T - 10_000 }),
          instance({ instance: "c", seen: T - 60_000 }),
          instance({ instance: "d", stopped: true }),
        ],
        { expect: ["nowhere"] },
      ),
    );
    expect(board.counts.value).toMatchObject({
      alive: 1,
      late: 1,
      lost: 1,
      stopped: 1,
      missing: 1,
    });
    expect(board.trouble.value).toBe(3);
  });

  test("derives states from the observed time, heartbeat by heartbeat", () => {
    const board = connected(boardMessage([instance()]));
    const empty = (now: number): Message => ({
      type: "heartbeats",
      now,
      observed_until: now,
      heartbeats: [],
    });
    board.apply([empty(T + 7500)]);
    expect(states(board)).toEqual({ [KEY]: "alive" });
    board.apply([empty(T + 7501)]);
    expect(states(board)).toEqual({ [KEY]: "late" });
    board.apply([empty(T + 12_501)]);
    expect(states(board)).toEqual({ [KEY]: "lost" });
  });

  test("uses the server's clock, not the browser's", () => {
    vi.setSystemTime(T + 86_400_000);
    expect(states(connected(boardMessage([instance()])))).toEqual({ [KEY]: "alive" });
  });
});

describe("a stale board", () => {
  test("is unknown from the loss of the server until the server reports again", () => {
    const board = connected(boardMessage([instance()]));
    board.freshness.setConnection({ ...CONNECTED, status: "reconnecting" });
    expect(states(board)).toEqual({ [KEY]: "unknown" });
    board.freshness.setConnection({ ...CONNECTED, opened: 2 });
    expect(states(board)).toEqual({ [KEY]: "unknown" });
    board.apply([heartbeats(T + 2000)]);
    expect(states(board)).toEqual({ [KEY]: "unknown" });
    board.apply([ping(T + 2000)]);
    expect(states(board)).toEqual({ [KEY]: "alive" });
  });

  test.each(["reset", "skipped"] as const)("is unknown between a %s and its board", (type) => {
    const board = connected(boardMessage([instance()]));
    board.apply([type === "skipped" ? { type, reason: "", count: 1 } : { type, reason: "" }]);
    expect(states(board)).toEqual({ [KEY]: "unknown" });
    board.apply([boardMessage([instance()])]);
    expect(states(board)).toEqual({ [KEY]: "alive" });
  });

  test("makes no instance late: only the observed time counts", () => {
    const board = connected(boardMessage([instance()]));
    board.apply([{ ...ping(T + 60_000), observed_until: T + 7000 } as Message]);
    expect(states(board)).toEqual({ [KEY]: "alive" });
    board.clock.start();
    vi.advanceTimersByTime(60_000);
    board.clock.stop();
    expect(states(board)).toEqual({ [KEY]: "alive" });
  });

  test("makes no instance late before the observed_since of the server", () => {
    const board = connected(boardMessage([instance()]));
    board.apply([ping(T + 60_000, { observed_since: T + 58_000 })]);
    expect(states(board)).toEqual({ [KEY]: "unknown" });
    board.apply([ping(T + 66_000, { observed_since: T + 58_000 })]);
    expect(states(board)).toEqual({ [KEY]: "late" });
    board.apply([heartbeats(T + 67_000, { seen: T + 66_500 })]);
    expect(states(board)).toEqual({ [KEY]: "alive" });
  });

  test("distinguishes the page's connection from the server's view of Redis", () => {
    const { freshness } = connected(boardMessage([]));
    expect([freshness.disconnected.value, freshness.stale.value]).toEqual([false, false]);
    freshness.update({
      blind: { since: T, reason: "" },
      gap: null,
      omitted: 0,
      observed_until: T,
      observed_since: 0,
    });
    expect([freshness.disconnected.value, freshness.stale.value]).toEqual([false, true]);
    freshness.setConnection({ ...CONNECTED, status: "reconnecting" });
    expect([freshness.disconnected.value, freshness.stale.value]).toEqual([true, true]);
  });
});

describe("a lifecycle event", () => {
  const lifecycle = (event: string, over: object = {}): Message => ({
    type: "lifecycle",
    id: `${T + 20_000}-0`,
    service: "balance-sync",
    instance: "w1:11",
    event,
    incident: event === "lost" ? incident(T) : null,
    ...over,
  });

  test("lost: the instance is lost until it is seen again", () => {
    const board = connected(boardMessage([instance()]));
    board.apply([lifecycle("lost")]);
    expect(states(board)).toEqual({ [KEY]: "lost" });
    board.apply([heartbeats(T + 1000, { seen: T })]);
    expect(states(board)).toEqual({ [KEY]: "lost" });
    board.apply([heartbeats(T + 1000, { seen: T + 1 })]);
    expect(states(board)).toEqual({ [KEY]: "alive" });
    board.apply([lifecycle("lost"), { type: "status", report: instance({ id: `${T + 900}-0` }) }]);
    expect(states(board)).toEqual({ [KEY]: "alive" });
  });

  test("lost: has no effect if the instance was seen after the incident", () => {
    const board = connected(boardMessage([instance({ seen: T + 1 })]));
    board.apply([lifecycle("lost")]);
    expect(states(board)).toEqual({ [KEY]: "alive" });
    expect(board.recentIncidents.latest.value).toHaveLength(1);
  });

  test("lost: a board may declare it, and the status of a new instance adds it", () => {
    const board = connected(boardMessage([instance({ lost: true })]));
    expect(states(board)).toEqual({ [KEY]: "lost" });
    board.apply([boardMessage([instance()])]);
    expect(states(board)).toEqual({ [KEY]: "alive" });
  });

  test("gone: removes the instance unless it published later", () => {
    const board = connected(boardMessage([instance()]));
    board.apply([lifecycle("gone", { id: `${T}-0` })]);
    expect(states(board)).toEqual({ [KEY]: "alive" });
    board.apply([lifecycle("gone")]);
    expect(states(board)).toEqual({});
    board.apply([lifecycle("gone")]);
    expect(states(board)).toEqual({});
  });

  test("gone: an expected service is missing only if no instance of it is left", () => {
    const two = [instance(), instance({ instance: "w2:12" })];
    const board = connected(boardMessage(two, { expect: ["balance-sync"] }));
    board.apply([lifecycle("gone")]);
    expect(states(board)).toEqual({ "balance-sync/w2:12": "alive" });
    board.apply([lifecycle("gone", { instance: "w2:12" })]);
    expect(states(board)).toEqual({ "balance-sync/": "missing" });
    board.apply([{ type: "status", report: instance({ id: `${T + 30_000}-0` }) }]);
    expect(states(board)).toEqual({ [KEY]: "alive" });
  });

  test("an unknown event changes nothing", () => {
    const board = connected(boardMessage([instance()]));
    board.apply([lifecycle("moved")]);
    expect(states(board)).toEqual({ [KEY]: "alive" });
  });

  test("skipped messages are counted", () => {
    const board = connected(boardMessage([]));
    board.apply([
      { type: "skipped", reason: "", count: 800 },
      { type: "skipped", reason: "", count: 12 },
    ]);
    expect(board.skipped.value).toBe(812);
  });
});

describe("the state note of an instance", () => {
  const stateNote = (over: Partial<Instance>, observed_until: number, observed_since = 0) => {
    const board = connected(boardMessage([instance(over)], { observed_until, observed_since }));
    return board.instances.value[0]?.stateNote.value;
  };

  test("a late instance will be lost 2.5 intervals after it was, or could have been, seen", () => {
    expect(stateNote({}, T + 8000)).toEqual({ kind: "lost", at: T + 12_500 });
    expect(stateNote({}, T + 18_000, T + 10_000)).toEqual({ kind: "lost", at: T + 22_500 });
    expect(stateNote({}, T + 7000)).toBeNull();
  });

  test("a planned return counts down, and stays overdue after the loss", () => {
    const planned = { stopped: true, back_in_s: 60 };
    expect(stateNote(planned, T)).toEqual({ kind: "back", at: T + 60_000 });
    expect(stateNote(planned, T + 90_000)).toEqual({ kind: "back", at: T + 60_000 });
    expect(stateNote({ stopped: true }, T)).toBeNull();
  });

  test("an instance that sends heartbeats while its event loop does not respond is stuck", () => {
    expect(stateNote({ lag_ms: 12_000 }, T)).toEqual({ kind: "stuck", lag_ms: 12_000 });
    expect(stateNote({ lag_ms: 999 }, T)).toBeNull();
    expect(stateNote({ lag_ms: 12_000 }, T + 60_000)).toBeNull();
  });

  test("a heartbeat reports that an event loop is stuck, and that it responds again", () => {
    const board = connected(boardMessage([instance()]));
    board.apply([heartbeats(T + 1000, { lag_ms: 5000 })]);
    expect(board.instances.value[0]?.stuck.value).toBe(true);
    board.apply([heartbeats(T + 2000)]);
    expect(board.instances.value[0]?.stuck.value).toBe(false);
  });
});

describe("the incidents", () => {
  const ids = (board: Board) =>
    board.recentIncidents.latest.value.map(({ id }) => Number(id.split("-")[0]) - T);
  const lost = (ms: number): Message => ({
    type: "lifecycle",
    id: `${T + ms}-0`,
    service: "balance-sync",
    instance: "w1:11",
    event: "lost",
    incident: incident(T + ms),
  });

  test("are those of the board and of later events, each once, newest first", () => {
    const board = connected(boardMessage([], { incidents: [incident(T + 20), incident(T + 10)] }));
    board.apply([lost(20), lost(40), lost(30)]);
    expect(ids(board)).toEqual([40, 30, 20, 10]);
    board.apply([boardMessage([])]);
    expect(ids(board)).toEqual([]);
  });

  test("are bounded", () => {
    const board = connected(boardMessage([]));
    for (let ms = 0; ms < 100; ms += 1) board.apply([lost(ms)]);
    expect(ids(board)).toEqual([...Array(20).keys()].map((n) => 99 - n));
  });

  test("report the outcome of each loss", () => {
    const board = connected(boardMessage([instance()]));
    const outcome = () => outcomeOf(incident(T), board);
    expect(outcome()).toBe("lost");
    board.apply([heartbeats(T + 2000)]);
    expect(outcome()).toBe("returned");
    board.apply([boardMessage([], { expect: ["balance-sync"] })]);
    expect(outcome()).toBe("gone");
    board.freshness.setConnection({ ...CONNECTED, status: "reconnecting" });
    expect(outcome()).toBe("unknown");
  });
});

describe("the pinned order", () => {
  const pinned = (board: Board) => [...board.pinned.keys.value];

  test("pins an instance in trouble, and for half a minute after", () => {
    const board = connected(boardMessage([instance(), instance({ instance: "z" })]));
    expect(pinned(board)).toEqual([]);
    const before = board.pinned.keys.value;
    board.apply([heartbeats(T + 8000, { instance: "z", seen: T + 7900 })]);
    expect(pinned(board)).toEqual([KEY]);
    board.apply([heartbeats(T + 9000)]);
    expect(states(board)[KEY]).toBe("alive");
    const during = board.pinned.keys.value;
    board.apply([{ ...heartbeats(T + 37_000), observed_until: T + 9000 } as Message]);
    expect(board.pinned.keys.value).toBe(during);
    board.apply([{ ...heartbeats(T + 39_000), observed_until: T + 9000 } as Message]);
    expect(pinned(board)).toEqual([]);
    expect(board.pinned.keys.value).not.toBe(before);
  });

  test("does not change while the board is stale", () => {
    const board = connected(boardMessage([instance({ seen: T - 60_000 })]));
    expect(pinned(board)).toEqual([KEY]);
    board.apply([ping(T + 600_000, { blind: { since: T, reason: "" } })]);
    expect(pinned(board)).toEqual([KEY]);
  });

  test("forgets an instance that has left the board", () => {
    const board = connected(boardMessage([instance({ seen: T - 60_000 })]));
    expect(pinned(board)).toEqual([KEY]);
    board.apply([boardMessage([])]);
    expect(pinned(board)).toEqual([]);
  });

  test("unpins an old loss if other instances of its service run", () => {
    const lost = instance({ seen: T - 60_000 });
    const board = connected(boardMessage([lost, instance({ instance: "z" })]));
    const alone = connected(boardMessage([lost]));
    const later = { ...heartbeats(T + 160_000, { instance: "z", seen: T + 159_000 }) } as Message;
    for (const each of [board, alone]) {
      expect(pinned(each)).toEqual([KEY]);
      each.apply([later]);
    }
    expect(pinned(board)).toEqual([]);
    expect(pinned(alone)).toEqual([KEY]);
  });
});

describe("fields", () => {
  const paths = (fields: Fields) => fields.rows.value.map((row) => row.path);

  test("update only the value that changed", () => {
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

  test("keep their positions when the order of a status changes and when they disappear", () => {
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

  test("keep a bounded number of keys", () => {
    const fields = new Fields();
    for (let i = 0; i < 5000; i += 1) fields.apply({ [`k${i}`]: i });
    const memory = fields as unknown as {
      known: Map<string, unknown>;
      order: Map<string, string[]>;
    };
    expect(memory.known.size).toBeLessThan(1000);
    expect(memory.order.get("")?.length).toBeLessThan(1000);
  });

  test("accept keys with special characters", () => {
    const fields = new Fields();
    fields.apply(JSON.parse('{"__proto__":1,"constructor":2,"":3,"a.b":4}'));
    expect(fields.rows.value.map((row) => row.value.value)).toEqual([1, 2, 3, 4]);
  });
});

describe("the batcher", () => {
  const status = (n: number, name = `w${n % 3}`): Message => ({
    type: "status",
    report: instance({ instance: name, status: { n }, id: `${T + n}-0` }),
  });

  test("applies messages in the same task under low load", () => {
    const applied: number[] = [];
    const batcher = new FrameBatcher((messages) => applied.push(messages.length));
    batcher.add(status(1));
    batcher.add(status(2));
    expect(applied).toEqual([1, 1]);
  });

  test("applies once per frame under high load, the latest of each instance, in order", () => {
    const flushes: Message[][] = [];
    const batcher = new FrameBatcher((messages) => flushes.push([...messages]));
    for (let n = 0; n < 1000; n += 1) batcher.add(status(n));
    expect(flushes).toHaveLength(25);
    vi.advanceTimersByTime(300);
    expect(flushes).toHaveLength(26);
    expect(
      flushes[25]?.map((message) => message.type === "status" && message.report.status["n"]),
    ).toEqual([997, 998, 999]);
  });

  test("applies messages while the page is hidden and gets no frames", () => {
    vi.spyOn(document, "visibilityState", "get").mockReturnValue("hidden");
    const frame = vi.spyOn(globalThis, "requestAnimationFrame");
    const flushes: number[] = [];
    const batcher = new FrameBatcher((messages) => flushes.push(messages.length));
    for (let n = 0; n < 100; n += 1) batcher.add(status(n));
    vi.advanceTimersByTime(250);
    expect(frame).not.toHaveBeenCalled();
    expect(flushes.at(-1)).toBe(3);
  });

  test("bounds the number of pending messages", () => {
    let most = 0;
    const batcher = new FrameBatcher((messages) => {
      most = Math.max(most, messages.length);
    });
    for (let n = 0; n < 10_000; n += 1) batcher.add(status(n, `w${n}`));
    expect(most).toBe(2000);
  });

  test("drops pending messages that a board replaces, except skipped counts", () => {
    const flushes: Message[][] = [];
    const batcher = new FrameBatcher((messages) => flushes.push([...messages]));
    for (let n = 0; n < 50; n += 1) batcher.add(status(n));
    batcher.add({ type: "skipped", reason: "", count: 1 });
    batcher.add(boardMessage([]));
    batcher.add(status(99));
    batcher.flush();
    expect(flushes.at(-1)?.map((message) => message.type)).toEqual(["skipped", "board", "status"]);
  });
});

describe("the arrangement", () => {
  const names = (models: readonly InstanceModel[] | undefined) =>
    models?.map((model) => model.instance);
  const keys = (views: readonly ServiceView[]) =>
    views.map((view) => view.shown.map((model) => model.key));
  const arranged = (instances: Instance[], few?: number, pinned?: Set<string>) => {
    const board = connected(boardMessage(instances));
    return arrange(board.instances.value, pinned ?? board.pinned.keys.value, few);
  };
  const NONE_PINNED = new Set<string>();
  const QUIET = T - 10_000;

  test("places pinned instances first, a card each; all others keep their positions", () => {
    const { cells, groups } = arranged([
      ...["a", "b"].map((service) => instance({ service })),
      ...["v", "x", "y"].map((name) => instance({ service: "c", instance: name })),
      instance({ service: "c", instance: "z", seen: QUIET }),
      instance({ service: "d", seen: QUIET }),
    ]);
    expect(keys(cells)).toEqual([["c/z"], ["d/w1:11"], ["a/w1:11"], ["b/w1:11"]]);
    expect(keys(groups)).toEqual([["c/v", "c/x", "c/y"]]);
    expect(groups[0]?.counts.get("late")).toBe(1);
  });

  test("keeps a service that is entirely in trouble under its heading, except a few cells", () => {
    const pool = [...Array(20).keys()].map((n) =>
      instance({ service: "pool", instance: `p${n}`, seen: QUIET }),
    );
    const { cells, groups } = arranged(
      [...pool, instance({ service: "pool", instance: "a" }), instance({ service: "solo" })],
      0,
    );
    expect(cells).toHaveLength(13);
    expect(names(groups[0]?.shown)).toEqual([
      ...[12, 13, 14, 15, 16, 17, 18, 19].map((n) => `p${n}`),
      "a",
    ]);
  });

  test("keeps the order if there are only a few services", () => {
    const { cells, groups } = arranged([
      instance({ service: "a" }),
      instance({ service: "b", seen: QUIET }),
      ...["v", "x", "y"].map((name) => instance({ service: "c", instance: name })),
      instance({ service: "c", instance: "z", seen: QUIET }),
    ]);
    expect(keys(cells)).toEqual([["a/w1:11"], ["b/w1:11"]]);
    expect(keys(groups)).toEqual([["c/v", "c/x", "c/y", "c/z"]]);
  });

  test("shows a recent loss beside the running instance, then collapses it", () => {
    const both = [instance({ instance: "a", seen: T - 60_000 }), instance({ instance: "b" })];
    const { cells, groups } = arranged(both);
    expect(keys(cells)).toEqual([["balance-sync/a"], ["balance-sync/b"]]);
    expect(groups).toEqual([]);
    const settled = arranged(both, 3, NONE_PINNED);
    expect(keys(settled.cells)).toEqual([["balance-sync/b"]]);
    expect(names(settled.cells[0]?.collapsed)).toEqual(["a"]);
  });

  test("keeps a service with two running instances in place: it may be restarting", () => {
    const { cells, groups } = arranged(["a", "b"].map((name) => instance({ instance: name })));
    expect(keys(cells)).toEqual([["balance-sync/a"], ["balance-sync/b"]]);
    expect(groups).toEqual([]);
  });

  test("collapses stopped instances below the running one", () => {
    const { cells } = arranged([
      instance({ instance: "a", stopped: true }),
      instance({ instance: "b" }),
    ]);
    expect(keys(cells)).toEqual([["balance-sync/b"]]);
    expect(names(cells[0]?.collapsed)).toEqual(["a"]);
  });

  test("shows an instance with a planned return", () => {
    const { cells } = arranged([
      instance({ instance: "a", stopped: true, back_in_s: 60 }),
      instance({ instance: "b" }),
    ]);
    expect(keys(cells)).toEqual([["balance-sync/a"], ["balance-sync/b"]]);
  });

  test("does not change when the board becomes stale", () => {
    const board = connected(
      boardMessage([
        instance({ instance: "a", stopped: true }),
        instance({ instance: "b" }),
        instance({ instance: "c", seen: T - 60_000, lost: true }),
        instance({ instance: "d", seen: T - 600_000, lost: true }),
        ...["x", "y", "z"].map((name) => instance({ service: "other", instance: name })),
        ...["k", "l", "m"].map((name) =>
          instance({ service: "other", instance: name, stopped: true }),
        ),
      ]),
    );
    const look = () => {
      const { cells, groups } = arrange(board.instances.value, board.pinned.keys.value);
      return [...cells, ...groups].map((view) => [names(view.shown), names(view.collapsed)]);
    };
    const before = look();
    board.freshness.setConnection({ ...CONNECTED, status: "reconnecting" });
    expect(states(board)[`balance-sync/a`]).toBe("unknown");
    expect(look()).toEqual(before);
  });

  test("shows the instance that was seen last if all have stopped", () => {
    const { cells } = arranged([
      instance({ instance: "a", stopped: true, seen: T - 90_000 }),
      instance({ instance: "b", stopped: true, seen: T - 50_000 }),
      instance({ instance: "c", stopped: true, seen: T - 70_000 }),
    ]);
    expect(keys(cells)).toEqual([["balance-sync/b"]]);
    expect(names(cells[0]?.collapsed)).toEqual(["a", "c"]);
  });

  test("shows the latest losses if all are lost", () => {
    const lost = [...Array(9).keys()].map((n) =>
      instance({ instance: `l${n}`, seen: T - 60_000 + n }),
    );
    const { cells } = arranged(lost);
    expect(cells.map((view) => view.shown[0]?.instance)).toEqual([
      "l3",
      "l4",
      "l5",
      "l6",
      "l7",
      "l8",
    ]);
    expect(names(cells[0]?.collapsed)).toEqual(["l0", "l1", "l2"]);
  });

  test("of a group, shows a few ended instances and collapses many", () => {
    const live = ["x", "y", "z"].map((name) => instance({ instance: name }));
    const ended = ["a", "b", "c"].map((name) => instance({ instance: name, stopped: true }));
    expect(names(arranged([...live, ...ended.slice(0, 2)]).groups[0]?.shown)).toEqual([
      "x",
      "y",
      "z",
      "a",
      "b",
    ]);
    expect(arranged([...live, ...ended]).groups[0]?.collapsed).toHaveLength(3);
  });

  test("of a group, shows the latest of many lost instances", () => {
    const live = ["x", "y", "z"].map((name) => instance({ instance: name }));
    const lost = [...Array(9).keys()].map((n) =>
      instance({ instance: `l${n}`, seen: T - 60_000 + n }),
    );
    const [group] = arranged([...live, ...lost]).groups;
    expect(names(group?.shown)).toEqual(["x", "y", "z", "l3", "l4", "l5", "l6", "l7", "l8"]);
    expect(names(group?.collapsed)).toEqual(["l0", "l1", "l2"]);
  });
});

describe("the filter", () => {
  afterEach(() => window.history.replaceState(null, "", "/services"));

  test("is stored in the URL and read from it", () => {
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

  test("passes instances with the state and every word", () => {
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
  test("is stored, and works without storage", () => {
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

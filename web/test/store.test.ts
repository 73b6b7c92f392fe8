import { effect } from "@preact/signals";
import { afterEach, beforeEach, describe, expect, test, vi } from "vitest";
import { arrange, type ServiceView } from "../src/store/arrange";
import { Board } from "../src/store/board";
import { Fields } from "../src/store/fields";
import { Filter } from "../src/store/filter";
import { outcomeOf } from "../src/store/incidents";
import type { InstanceModel } from "../src/store/instance";
import { Pacer } from "../src/store/pacer";
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

/** Everything was heard up to `now`, unless it says otherwise. */
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

/** One beat, just before everything was heard up to `now`. */
function beats(now: number, over: object = {}): Message {
  const beat = { service: "balance-sync", instance: "w1:11", seen: now - 100, lag_ms: 0, ...over };
  return { type: "heartbeats", now, observed_until: now, heartbeats: [beat] };
}

function incident(declared: number): Incident {
  const seen = Math.min(T, declared - 1);
  const who = { service: "balance-sync", instance: "w1:11", heartbeat_s: 5 };
  return { id: `${declared}-0`, ...who, seen: declared === T ? T : seen, declared, cause: "silent" };
}

const KEY = "balance-sync/w1:11";
const CONNECTED = { status: "connected", failures: 0, opened: 1, fault: null } as const;

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
    board.apply([{ type: "status", report: instance({ status: { done: 1 }, id: `${T}-4` }) }]);
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
    expect(board.counts.value).toMatchObject({ alive: 1, late: 1, lost: 1, stopped: 1, missing: 1 });
    expect(board.trouble.value).toBe(3);
  });

  test("judges by what was heard, beat by beat", () => {
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

  test("goes by the server's clock, whatever the browser's says", () => {
    vi.setSystemTime(T + 86_400_000);
    expect(states(connected(boardMessage([instance()])))).toEqual({ [KEY]: "alive" });
  });
});

describe("what cannot be seen", () => {
  test("is unknown once the server is lost, and until it tells what it sees", () => {
    const board = connected(boardMessage([instance()]));
    board.sight.turn({ ...CONNECTED, status: "reconnecting" });
    expect(states(board)).toEqual({ [KEY]: "unknown" });
    board.sight.turn({ ...CONNECTED, opened: 2 });
    expect(states(board)).toEqual({ [KEY]: "unknown" });
    board.apply([beats(T + 2000)]);
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

  test("is not held against anybody: only what was heard counts, however late it is by now", () => {
    const board = connected(boardMessage([instance()]));
    board.apply([{ ...ping(T + 60_000), observed_until: T + 7000 } as Message]);
    expect(states(board)).toEqual({ [KEY]: "alive" });
    board.clock.start();
    vi.advanceTimersByTime(60_000);
    board.clock.stop();
    expect(states(board)).toEqual({ [KEY]: "alive" });
  });

  test("is not held against anybody before the time from which the server says that silence counts", () => {
    const board = connected(boardMessage([instance()]));
    board.apply([ping(T + 60_000, { observed_since: T + 58_000 })]);
    expect(states(board)).toEqual({ [KEY]: "unknown" });
    board.apply([ping(T + 66_000, { observed_since: T + 58_000 })]);
    expect(states(board)).toEqual({ [KEY]: "late" });
    board.apply([beats(T + 67_000, { seen: T + 66_500 })]);
    expect(states(board)).toEqual({ [KEY]: "alive" });
  });

  test("is told apart: the link, and what the server sees", () => {
    const { sight } = connected(boardMessage([]));
    expect([sight.lost.value, sight.dark.value]).toEqual([false, false]);
    sight.look({
      blind: { since: T, reason: "" },
      gap: null,
      omitted: 0,
      observed_until: T,
      observed_since: 0,
    });
    expect([sight.lost.value, sight.dark.value]).toEqual([false, true]);
    sight.turn({ ...CONNECTED, status: "reconnecting" });
    expect([sight.lost.value, sight.dark.value]).toEqual([true, true]);
  });
});

describe("what becomes of an instance", () => {
  const lifecycle = (event: string, over: object = {}): Message => ({
    type: "lifecycle",
    id: `${T + 20_000}-0`,
    service: "balance-sync",
    instance: "w1:11",
    event,
    incident: event === "lost" ? incident(T) : null,
    ...over,
  });

  test("lost: it is so by declaration, until it gives a sign of life", () => {
    const board = connected(boardMessage([instance()]));
    board.apply([lifecycle("lost")]);
    expect(states(board)).toEqual({ [KEY]: "lost" });
    board.apply([beats(T + 1000, { seen: T })]);
    expect(states(board)).toEqual({ [KEY]: "lost" });
    board.apply([beats(T + 1000, { seen: T + 1 })]);
    expect(states(board)).toEqual({ [KEY]: "alive" });
    board.apply([lifecycle("lost"), { type: "status", report: instance({ id: `${T + 900}-0` }) }]);
    expect(states(board)).toEqual({ [KEY]: "alive" });
  });

  test("lost: not when it was seen after its last sign of life that the incident knows", () => {
    const board = connected(boardMessage([instance({ seen: T + 1 })]));
    board.apply([lifecycle("lost")]);
    expect(states(board)).toEqual({ [KEY]: "alive" });
    expect(board.losses.latest.value).toHaveLength(1);
  });

  test("lost: a board may say so, and a status of one that is new makes it known", () => {
    const board = connected(boardMessage([instance({ lost: true })]));
    expect(states(board)).toEqual({ [KEY]: "lost" });
    board.apply([boardMessage([instance()])]);
    expect(states(board)).toEqual({ [KEY]: "alive" });
  });

  test("gone: it is off the board, unless it spoke later", () => {
    const board = connected(boardMessage([instance()]));
    board.apply([lifecycle("gone", { id: `${T}-0` })]);
    expect(states(board)).toEqual({ [KEY]: "alive" });
    board.apply([lifecycle("gone")]);
    expect(states(board)).toEqual({});
    board.apply([lifecycle("gone")]);
    expect(states(board)).toEqual({});
  });

  test("gone: an expected service that nothing is left of is missing, and only then", () => {
    const two = [instance(), instance({ instance: "w2:12" })];
    const board = connected(boardMessage(two, { expect: ["balance-sync"] }));
    board.apply([lifecycle("gone")]);
    expect(states(board)).toEqual({ "balance-sync/w2:12": "alive" });
    board.apply([lifecycle("gone", { instance: "w2:12" })]);
    expect(states(board)).toEqual({ "balance-sync/": "missing" });
    board.apply([{ type: "status", report: instance({ id: `${T + 30_000}-0` }) }]);
    expect(states(board)).toEqual({ [KEY]: "alive" });
  });

  test("what it does not know changes nothing", () => {
    const board = connected(boardMessage([instance()]));
    board.apply([lifecycle("moved")]);
    expect(states(board)).toEqual({ [KEY]: "alive" });
  });

  test("what was skipped is counted", () => {
    const board = connected(boardMessage([]));
    board.apply([
      { type: "skipped", reason: "", count: 800 },
      { type: "skipped", reason: "", count: 12 },
    ]);
    expect(board.skipped.value).toBe(812);
  });
});

describe("what is to be expected of an instance", () => {
  const outlook = (over: Partial<Instance>, observed_until: number, observed_since = 0) => {
    const board = connected(boardMessage([instance(over)], { observed_until, observed_since }));
    return board.instances.value[0]?.outlook.value;
  };

  test("one that is late will be lost two and a half rhythms after it was seen, or could have been", () => {
    expect(outlook({}, T + 8000)).toEqual({ kind: "lost", at: T + 12_500 });
    expect(outlook({}, T + 18_000, T + 10_000)).toEqual({ kind: "lost", at: T + 22_500 });
    expect(outlook({}, T + 7000)).toBeNull();
  });

  test("one that planned to be back will be, and goes on being overdue when it is lost", () => {
    const planned = { stopped: true, back_in_s: 60 };
    expect(outlook(planned, T)).toEqual({ kind: "back", at: T + 60_000 });
    expect(outlook(planned, T + 90_000)).toEqual({ kind: "back", at: T + 60_000 });
    expect(outlook({ stopped: true }, T)).toBeNull();
  });

  test("one that beats while its event loop does not answer is stuck", () => {
    expect(outlook({ lag_ms: 12_000 }, T)).toEqual({ kind: "stuck", lag_ms: 12_000 });
    expect(outlook({ lag_ms: 999 }, T)).toBeNull();
    expect(outlook({ lag_ms: 12_000 }, T + 60_000)).toBeNull();
  });

  test("a beat tells that an event loop is stuck, and that it answers again", () => {
    const board = connected(boardMessage([instance()]));
    board.apply([beats(T + 1000, { lag_ms: 5000 })]);
    expect(board.instances.value[0]?.stuck.value).toBe(true);
    board.apply([beats(T + 2000)]);
    expect(board.instances.value[0]?.stuck.value).toBe(false);
  });
});

describe("the incidents", () => {
  const ids = (board: Board) => board.losses.latest.value.map(({ id }) => Number(id.split("-")[0]) - T);
  const lost = (ms: number): Message => ({
    type: "lifecycle",
    id: `${T + ms}-0`,
    service: "balance-sync",
    instance: "w1:11",
    event: "lost",
    incident: incident(T + ms),
  });

  test("are those of the board and what is told after it, each once, the latest first", () => {
    const board = connected(boardMessage([], { incidents: [incident(T + 20), incident(T + 10)] }));
    board.apply([lost(20), lost(40), lost(30)]);
    expect(ids(board)).toEqual([40, 30, 20, 10]);
    board.apply([boardMessage([])]);
    expect(ids(board)).toEqual([]);
  });

  test("do not grow without end", () => {
    const board = connected(boardMessage([]));
    for (let ms = 0; ms < 100; ms += 1) board.apply([lost(ms)]);
    expect(ids(board)).toEqual([...Array(20).keys()].map((n) => 99 - n));
  });

  test("say what became of whoever was lost", () => {
    const board = connected(boardMessage([instance()]));
    const outcome = () => outcomeOf(incident(T), board);
    expect(outcome()).toBe("lost");
    board.apply([beats(T + 2000)]);
    expect(outcome()).toBe("returned");
    board.apply([boardMessage([], { expect: ["balance-sync"] })]);
    expect(outcome()).toBe("gone");
    board.sight.turn({ ...CONNECTED, status: "reconnecting" });
    expect(outcome()).toBe("unknown");
  });
});

describe("who leads the board", () => {
  const leaders = (board: Board) => [...board.lead.keys.value];

  test("is whoever is in trouble, and for half a minute after", () => {
    const board = connected(boardMessage([instance(), instance({ instance: "z" })]));
    expect(leaders(board)).toEqual([]);
    const before = board.lead.keys.value;
    board.apply([beats(T + 8000, { instance: "z", seen: T + 7900 })]);
    expect(leaders(board)).toEqual([KEY]);
    board.apply([beats(T + 9000)]);
    expect(states(board)[KEY]).toBe("alive");
    const during = board.lead.keys.value;
    board.apply([{ ...beats(T + 37_000), observed_until: T + 9000 } as Message]);
    expect(board.lead.keys.value).toBe(during);
    board.apply([{ ...beats(T + 39_000), observed_until: T + 9000 } as Message]);
    expect(leaders(board)).toEqual([]);
    expect(board.lead.keys.value).not.toBe(before);
  });

  test("stays the same while nothing can be seen", () => {
    const board = connected(boardMessage([instance({ seen: T - 60_000 })]));
    expect(leaders(board)).toEqual([KEY]);
    board.apply([ping(T + 600_000, { blind: { since: T, reason: "" } })]);
    expect(leaders(board)).toEqual([KEY]);
  });

  test("forgets whoever has left the board", () => {
    const board = connected(boardMessage([instance({ seen: T - 60_000 })]));
    expect(leaders(board)).toEqual([KEY]);
    board.apply([boardMessage([])]);
    expect(leaders(board)).toEqual([]);
  });

  test("is no longer one that was lost a while ago and that others of its service outlived", () => {
    const lost = instance({ seen: T - 60_000 });
    const board = connected(boardMessage([lost, instance({ instance: "z" })]));
    const alone = connected(boardMessage([lost]));
    const later = { ...beats(T + 160_000, { instance: "z", seen: T + 159_000 }) } as Message;
    for (const each of [board, alone]) {
      expect(leaders(each)).toEqual([KEY]);
      each.apply([later]);
    }
    expect(leaders(board)).toEqual([]);
    expect(leaders(alone)).toEqual([KEY]);
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
    report: instance({ instance: name, status: { n }, id: `${T + n}-0` }),
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
    expect(flushes[25]?.map((message) => message.type === "status" && message.report.status["n"])).toEqual([
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

  test("lets a board take the place of all that waited before it, but for what was skipped", () => {
    const flushes: Message[][] = [];
    const pacer = new Pacer((messages) => flushes.push([...messages]));
    for (let n = 0; n < 50; n += 1) pacer.offer(status(n));
    pacer.offer({ type: "skipped", reason: "", count: 1 });
    pacer.offer(boardMessage([]));
    pacer.offer(status(99));
    pacer.flush();
    expect(flushes.at(-1)?.map((message) => message.type)).toEqual(["skipped", "board", "status"]);
  });
});

describe("the arrangement", () => {
  const names = (models: readonly InstanceModel[] | undefined) => models?.map((model) => model.instance);
  const keys = (views: readonly ServiceView[]) => views.map((view) => view.shown.map((model) => model.key));
  const arranged = (instances: Instance[], few?: number, leading?: Set<string>) => {
    const board = connected(boardMessage(instances));
    return arrange(board.instances.value, leading ?? board.lead.keys.value, few);
  };
  const NOBODY = new Set<string>();
  const QUIET = T - 10_000;

  test("puts what leads before the others, a card each; all else keeps its place", () => {
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

  test("leaves a service that is in trouble altogether under its heading, but for a few", () => {
    const pool = [...Array(20).keys()].map((n) =>
      instance({ service: "pool", instance: `p${n}`, seen: QUIET }),
    );
    const { cells, groups } = arranged(
      [...pool, instance({ service: "pool", instance: "a" }), instance({ service: "solo" })],
      0,
    );
    expect(cells).toHaveLength(13);
    expect(names(groups[0]?.shown)).toEqual([...[12, 13, 14, 15, 16, 17, 18, 19].map((n) => `p${n}`), "a"]);
  });

  test("leaves everything in its place where there is little", () => {
    const { cells, groups } = arranged([
      instance({ service: "a" }),
      instance({ service: "b", seen: QUIET }),
      ...["v", "x", "y"].map((name) => instance({ service: "c", instance: name })),
      instance({ service: "c", instance: "z", seen: QUIET }),
    ]);
    expect(keys(cells)).toEqual([["a/w1:11"], ["b/w1:11"]]);
    expect(keys(groups)).toEqual([["c/v", "c/x", "c/y", "c/z"]]);
  });

  test("shows a loss beside the one that lives as long as it is news, then folds it below", () => {
    const both = [instance({ instance: "a", seen: T - 60_000 }), instance({ instance: "b" })];
    const { cells, groups } = arranged(both);
    expect(keys(cells)).toEqual([["balance-sync/a"], ["balance-sync/b"]]);
    expect(groups).toEqual([]);
    const settled = arranged(both, 3, NOBODY);
    expect(keys(settled.cells)).toEqual([["balance-sync/b"]]);
    expect(names(settled.cells[0]?.folded)).toEqual(["a"]);
  });

  test("leaves a service that runs twice in its place: it may be restarting", () => {
    const { cells, groups } = arranged(["a", "b"].map((name) => instance({ instance: name })));
    expect(keys(cells)).toEqual([["balance-sync/a"], ["balance-sync/b"]]);
    expect(groups).toEqual([]);
  });

  test("folds who stopped below the one that lives", () => {
    const { cells } = arranged([instance({ instance: "a", stopped: true }), instance({ instance: "b" })]);
    expect(keys(cells)).toEqual([["balance-sync/b"]]);
    expect(names(cells[0]?.folded)).toEqual(["a"]);
  });

  test("keeps in view who means to be back", () => {
    const { cells } = arranged([
      instance({ instance: "a", stopped: true, back_in_s: 60 }),
      instance({ instance: "b" }),
    ]);
    expect(keys(cells)).toEqual([["balance-sync/a"], ["balance-sync/b"]]);
  });

  test("does not change when nothing can be seen any more", () => {
    const board = connected(
      boardMessage([
        instance({ instance: "a", stopped: true }),
        instance({ instance: "b" }),
        instance({ instance: "c", seen: T - 60_000, lost: true }),
        instance({ instance: "d", seen: T - 600_000, lost: true }),
        ...["x", "y", "z"].map((name) => instance({ service: "other", instance: name })),
        ...["k", "l", "m"].map((name) => instance({ service: "other", instance: name, stopped: true })),
      ]),
    );
    const look = () => {
      const { cells, groups } = arrange(board.instances.value, board.lead.keys.value);
      return [...cells, ...groups].map((view) => [names(view.shown), names(view.folded)]);
    };
    const before = look();
    board.sight.turn({ ...CONNECTED, status: "reconnecting" });
    expect(states(board)[`balance-sync/a`]).toBe("unknown");
    expect(look()).toEqual(before);
  });

  test("shows the one seen last when all have stopped", () => {
    const { cells } = arranged([
      instance({ instance: "a", stopped: true, seen: T - 90_000 }),
      instance({ instance: "b", stopped: true, seen: T - 50_000 }),
      instance({ instance: "c", stopped: true, seen: T - 70_000 }),
    ]);
    expect(keys(cells)).toEqual([["balance-sync/b"]]);
    expect(names(cells[0]?.folded)).toEqual(["a", "c"]);
  });

  test("shows the latest few when all are lost", () => {
    const lost = [...Array(9).keys()].map((n) => instance({ instance: `l${n}`, seen: T - 60_000 + n }));
    const { cells } = arranged(lost);
    expect(cells.map((view) => view.shown[0]?.instance)).toEqual(["l3", "l4", "l5", "l6", "l7", "l8"]);
    expect(names(cells[0]?.folded)).toEqual(["l0", "l1", "l2"]);
  });

  test("of several live ones, shows a few ended below and folds many", () => {
    const live = ["x", "y", "z"].map((name) => instance({ instance: name }));
    const ended = ["a", "b", "c"].map((name) => instance({ instance: name, stopped: true }));
    expect(names(arranged([...live, ...ended.slice(0, 2)]).groups[0]?.shown)).toEqual([
      "x",
      "y",
      "z",
      "a",
      "b",
    ]);
    expect(arranged([...live, ...ended]).groups[0]?.folded).toHaveLength(3);
  });

  test("of several live ones, keeps the latest few of a crowd of lost ones in view", () => {
    const live = ["x", "y", "z"].map((name) => instance({ instance: name }));
    const lost = [...Array(9).keys()].map((n) => instance({ instance: `l${n}`, seen: T - 60_000 + n }));
    const [group] = arranged([...live, ...lost]).groups;
    expect(names(group?.shown)).toEqual(["x", "y", "z", "l3", "l4", "l5", "l6", "l7", "l8"]);
    expect(names(group?.folded)).toEqual(["l0", "l1", "l2"]);
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

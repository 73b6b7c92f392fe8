import { render } from "preact";
import { act } from "preact/test-utils";
import { afterEach, beforeEach, describe, expect, test, vi } from "vitest";
import { formatClockTime } from "../src/lib/format";
import { Store } from "../src/store/store";
import { App } from "../src/views/app";
import { BOARD, FakeSource } from "./fake-source";

const T = BOARD.now;
const PING = { now: T, observed_until: T, observed_since: 0, blind: null, gap: null, omitted: 0 };
let root: HTMLElement;
let stop: () => void;

beforeEach(() => {
  vi.useFakeTimers({ now: T });
  vi.stubGlobal("EventSource", FakeSource);
  FakeSource.all = [];
  window.history.replaceState(null, "", "/services");
  root = document.createElement("div");
  document.body.append(root);
  const store = new Store("/api/stream");
  stop = store.start();
  act(() => render(<App store={store} />, root));
});

afterEach(() => {
  act(() => render(null, root));
  stop();
  root.remove();
  vi.useRealTimers();
  sessionStorage.clear();
  vi.unstubAllGlobals();
  vi.restoreAllMocks();
});

const find = (selector: string) => root.querySelector<HTMLElement>(selector);
const all = (selector: string) => [...root.querySelectorAll<HTMLElement>(selector)];
const testid = (id: string) => find(`[data-testid="${id}"]`);
const value = (field: string) => find(`[data-field="${field}"] [data-value]`)?.textContent;

function instance(over: object = {}): object {
  const base = {
    service: "balance-sync",
    instance: "w1:11",
    timestamp: T,
    status: {},
    heartbeat_s: 5,
    stopped: false,
    back_in_s: null,
    lost: false,
    lag_ms: 0,
  };
  return { ...base, id: `${T}-0`, seen: T, ...over };
}

function connect(instances: object[], over: object = {}): void {
  act(() => {
    FakeSource.last.open();
    FakeSource.last.send("board", { ...BOARD, instances, ...over }, `${T}-0`);
  });
}

function status(fields: object, ms = 100): void {
  const data = {
    service: "balance-sync",
    instance: "w1:11",
    timestamp: T,
    status: fields,
    heartbeat_s: 5,
  };
  act(() => FakeSource.last.send("status", data, `${T + ms}-0`));
}

describe("the page", () => {
  test("shows only a skeleton before the first board", () => {
    expect(testid("loading")).not.toBeNull();
    expect(testid("card")).toBeNull();
    expect(document.title).toBe("Background Services Monitor");
    connect([instance()]);
    expect(testid("loading")).toBeNull();
  });

  test("explains how to publish if no status was published yet", () => {
    connect([]);
    expect(testid("empty")?.textContent).toContain(
      'with Service("my-service", heartbeat_s=5) as service:',
    );
    expect(testid("empty")?.textContent).toContain("redis-cli PUBLISH service:my-service");
    expect(find(".summary")).toBeNull();
  });

  test("shows a card per instance with its state, its activity and every field", () => {
    connect([
      instance({
        status: {
          isRunning: true,
          queueHigh: 1204,
          lastError: null,
          dryRun: false,
          rate: { left: 7 },
        },
      }),
    ]);
    const card = testid("card");
    expect(card?.dataset).toMatchObject({
      service: "balance-sync",
      instance: "w1:11",
      state: "alive",
    });
    expect(value("isRunning")).toBe("Running");
    expect(value("queueHigh")).toBe("1,204");
    expect(value("lastError")).toContain("—");
    expect(value("dryRun")).toBe("no");
    expect(value("rate.left")).toBe("7");
    expect(card?.textContent).toContain("heartbeat: 5 s");
  });

  test("changes one value in the same task and no other element", () => {
    connect([instance({ status: { done: 1, failed: 0 } })]);
    const done = find('[data-field="done"] [data-value]');
    const failed = find('[data-field="failed"] [data-value]');
    status({ done: 2, failed: 0 });
    expect(find('[data-field="done"] [data-value]')).toBe(done);
    expect(done?.textContent).toBe("2");
    expect(done?.dataset["flash"]).toBe("a");
    expect(failed?.dataset["flash"]).toBeUndefined();
  });

  test("flashes a change after a rest, and does not flicker if a value changes often", () => {
    connect([instance({ status: { done: 0 } })]);
    const flashes: (string | undefined)[] = [];
    for (let n = 1; n <= 4; n += 1) {
      status({ done: n }, 1000 * n);
      flashes.push(find('[data-field="done"] [data-value]')?.dataset["flash"]);
      act(() => {
        vi.advanceTimersByTime(n === 3 ? 2500 : 1000);
      });
    }
    expect(flashes).toEqual(["a", "a", "a", "b"]);
  });

  test("computes ages by the server's clock when the browser's is an hour slow", () => {
    vi.setSystemTime(T - 3_600_000);
    connect([instance()]);
    expect(testid("connection")?.textContent).toContain("0 s ago");
  });

  test("shows markup in a status as text", () => {
    connect([instance({ status: { note: "<img src=x onerror=alert(1)>" } })]);
    expect(value("note")).toBe("<img src=x onerror=alert(1)>");
    expect(find("[data-value] img")).toBeNull();
  });

  test("marks an error while there is one", () => {
    connect([instance({ status: { lastError: "boom" } })]);
    expect(find('[data-field="lastError"]')?.dataset["error"]).toBe("true");
    status({ lastError: null });
    expect(find('[data-field="lastError"]')?.dataset["error"]).toBe("false");
  });

  test("replaces the card of a missing service when its first instance appears", () => {
    connect([], { expect: ["balance-sync"] });
    expect(testid("card")?.dataset["state"]).toBe("missing");
    expect(testid("card")?.textContent).toContain("expected, not seen yet");
    status({ done: 1 });
    expect(all('[data-testid="card"]').map((card) => card.dataset["state"])).toEqual(["alive"]);
  });

  test("shortens long lists and texts, and expands them", () => {
    connect([instance({ status: { ids: [...Array(20).keys()], text: "x".repeat(500) } })]);
    expect(all(".chip")).toHaveLength(8);
    const more = find('[data-field="ids"] button');
    expect(more?.textContent).toBe("+12 more");
    act(() => more?.click());
    expect(all(".chip")).toHaveLength(20);
    expect(find(".clamped")).not.toBeNull();
    act(() => find('[data-field="text"] button')?.click());
    expect(find(".clamped")).toBeNull();
  });

  test("updates ages every second", () => {
    connect([instance({ status: { lastRunAt: T - 5000 } })]);
    expect(value("lastRunAt")).toBe("5 s ago");
    act(() => {
      vi.advanceTimersByTime(3000);
    });
    expect(value("lastRunAt")).toBe("8 s ago");
  });
});

describe("a report of what the board does not know", () => {
  test("the indicator names the state of the connection", () => {
    expect(testid("connection")?.dataset["status"]).toBe("reconnecting");
    expect(testid("connection")?.textContent).toContain("Connecting");
    connect([instance()]);
    expect(testid("connection")?.dataset["status"]).toBe("connected");
    act(() => FakeSource.last.fail());
    expect(testid("connection")?.textContent).toContain("Reconnecting");
    expect(testid("card")?.dataset["state"]).toBe("unknown");
    expect(document.title).toBe("(?) Background Services Monitor");
  });

  test("a blind server shows a banner, and its cards are unknown", () => {
    connect([instance()]);
    expect(testid("banner-blind")).toBeNull();
    act(() =>
      FakeSource.last.send("ping", {
        ...PING,
        blind: { since: T - 1000, reason: "Connection refused" },
      }),
    );
    expect(testid("banner-blind")?.textContent).toContain("Connection refused");
    expect(testid("card")?.dataset["state"]).toBe("unknown");
    act(() => FakeSource.last.send("ping", PING));
    expect(testid("banner-blind")).toBeNull();
    expect(testid("card")?.dataset["state"]).toBe("alive");
  });

  test("a lost server shows a banner with time and reason if the loss is not brief", () => {
    connect([instance()]);
    act(() => {
      vi.advanceTimersByTime(1000);
      FakeSource.last.send("ping", { ...PING, now: T + 1000 });
      FakeSource.last.fail();
    });
    expect(find("main")?.dataset["stale"]).toBe("true");
    expect(testid("banner-disconnected")).toBeNull();
    act(() => {
      vi.advanceTimersByTime(2000);
    });
    const banner = testid("banner-disconnected");
    expect(banner?.textContent).toContain(
      "The connection to the server is lost. The page shows data from",
    );
    expect(banner?.textContent).toContain("2 s ago · The connection broke.");
    expect(banner?.querySelector('[role="alert"]')?.textContent).not.toContain("ago");
    expect(value("isRunning")).toBeUndefined();
    act(() => {
      FakeSource.last.open();
      FakeSource.last.send("ping", PING);
    });
    expect(testid("banner-disconnected")).toBeNull();
    expect(find("main")?.dataset["stale"]).toBe("false");
  });

  test("the banner of a blind server is hidden once the server itself is lost", () => {
    connect([instance()]);
    act(() => FakeSource.last.send("ping", { ...PING, blind: { since: T, reason: "refused" } }));
    expect(find("main")?.dataset["stale"]).toBe("true");
    act(() => {
      FakeSource.last.fail();
      vi.advanceTimersByTime(3000);
    });
    expect(testid("banner-blind")).toBeNull();
    expect(testid("banner-disconnected")).not.toBeNull();
  });

  test("a full board shows the number of omitted instances while it omits any", () => {
    const ping = (omitted: number) => act(() => FakeSource.last.send("ping", { ...PING, omitted }));
    connect([instance()], { omitted: 1200 });
    expect(testid("banner-full")?.textContent).toContain(
      "omits 1200 more instances that published in the last hour",
    );
    ping(1);
    expect(testid("banner-full")?.textContent).toContain(
      "omits 1 more instance that published in the last hour",
    );
    act(() =>
      FakeSource.last.send("ping", { ...PING, omitted: 5, blind: { since: T, reason: "" } }),
    );
    expect(testid("banner-full")).toBeNull();
    ping(0);
    expect(testid("banner-full")).toBeNull();
  });

  describe("a coverage gap", () => {
    const GAP = { since: T - 4000, until: T - 1500 };
    const ping = (gap: object | null, now = T) =>
      act(() => FakeSource.last.send("ping", { ...PING, now, observed_until: now, gap }));
    const EXTERNAL = [
      instance(),
      instance({ service: "cron-report", instance: "", heartbeat_s: null }),
    ];

    test("is reported in one line, during and after it", () => {
      connect(EXTERNAL);
      expect(testid("banner-gap")).toBeNull();
      ping({ since: T - 4000, until: null });
      expect(testid("banner-gap")?.textContent).toContain(
        `External messages since ${formatClockTime(T - 4000)} may be missing`,
      );
      ping(GAP);
      // The last second is affected, too.
      expect(testid("banner-gap")?.textContent).toContain(
        `between ${formatClockTime(T - 4000)} and ${formatClockTime(T - 1000)} may be missing`,
      );
      expect(testid("banner-gap")?.textContent).toContain(
        "Services that use the SDK are not affected.",
      );
      expect(testid("card")?.dataset["state"]).toBe("alive");
      ping(null); // another server was subscribed
      expect(testid("banner-gap")).toBeNull();
    });

    test("is reported for an hour by Redis' clock", () => {
      connect(EXTERNAL, { gap: GAP });
      expect(testid("banner-gap")).not.toBeNull();
      ping(GAP, T + 3_598_000);
      expect(testid("banner-gap")).not.toBeNull();
      ping(GAP, T + 3_599_000);
      expect(testid("banner-gap")).toBeNull();
    });

    test("is hidden with its parts after it is dismissed, but the next gap is shown", () => {
      connect(EXTERNAL, { gap: GAP });
      act(() => testid("banner-gap")?.querySelector("button")?.click());
      expect(testid("banner-gap")).toBeNull();
      ping({ since: T - 3000, until: T - 2000 });
      expect(testid("banner-gap")).toBeNull();
      ping({ since: T, until: null });
      expect(testid("banner-gap")).not.toBeNull();
    });

    test("stays dismissed after a reload", () => {
      connect(EXTERNAL, { gap: GAP });
      act(() => testid("banner-gap")?.querySelector("button")?.click());
      expect(new Store("/api/stream").coverageGap).toMatchObject({
        dismissedUntil: { value: T - 1499 },
      });
    });

    test("is reported on an empty board and with expected services, but not if all use the SDK", () => {
      connect([instance()], { gap: GAP });
      expect(testid("banner-gap")).toBeNull();
      connect([instance()], { gap: GAP, expect: ["cron-report"] });
      expect(testid("banner-gap")).not.toBeNull();
      connect([], { gap: GAP });
      expect(testid("banner-gap")).not.toBeNull();
    });

    test("is not reported on a stale board", () => {
      connect(EXTERNAL, { gap: GAP, blind: { since: T, reason: "away" } });
      expect(testid("banner-gap")).toBeNull();
      ping(GAP);
      act(() => FakeSource.last.fail());
      expect(testid("banner-gap")).toBeNull();
    });
  });

  test("skipped updates are reported", () => {
    connect([instance()]);
    expect(testid("skipped")).toBeNull();
    act(() => {
      FakeSource.last.send("skipped", { reason: "slow", skipped: { status: 800, lifecycle: 12 } });
      FakeSource.last.send("board", BOARD);
    });
    expect(testid("skipped")?.textContent).toBe("skipped 812 updates: this page was too slow");
  });

  test("an open board is labelled as open", () => {
    connect([], { insecure: true });
    expect(testid("banner-insecure")?.textContent).toContain("without a login");
  });

  test("the title has the number of instances in trouble", () => {
    connect([instance({ seen: T - 60_000 })], { expect: ["nowhere"] });
    expect(document.title).toBe("(2) Background Services Monitor");
  });

  test("malformed frames are reported", () => {
    vi.spyOn(console, "warn").mockImplementation(() => {});
    connect([instance()]);
    act(() => FakeSource.last.send("status", "{"));
    expect(find(".foot")?.textContent).toContain("1 malformed frame dropped");
  });
});

describe("the state note", () => {
  const stateNote = () => testid("state-note")?.textContent;
  const observe = (ms: number) =>
    act(() => {
      vi.advanceTimersByTime(ms - (performance.now() - began));
      FakeSource.last.send("heartbeats", { now: T + ms, observed_until: T + ms, heartbeats: [] });
    });
  let began = 0;
  beforeEach(() => {
    began = performance.now();
  });

  test("counts down to the loss of a late instance", () => {
    connect([instance()]);
    observe(7000);
    expect(stateNote()).toBeUndefined();
    observe(8000);
    expect(stateNote()).toBe("lost in 0:05");
    observe(12_000);
    expect(stateNote()).toBe("lost in 0:01");
    observe(13_000);
    expect(testid("card")?.dataset["state"]).toBe("lost");
    expect(stateNote()).toBeUndefined();
    expect(testid("end")?.textContent).toBe("No heartbeat for 13 s");
  });

  test("counts down to the end of a planned absence, and counts up after it", () => {
    connect([instance({ stopped: true, back_in_s: 10, status: { phase: "draining" } })]);
    expect(testid("end")?.textContent).toBe("Back in 0:10");
    observe(12_000);
    expect(testid("card")?.dataset["state"]).toBe("stopped");
    expect(testid("end")?.textContent).toBe("Overdue by 0:02");
    observe(20_000);
    expect(testid("card")?.dataset["state"]).toBe("lost");
    expect(testid("end")?.textContent).toBe("Overdue by 0:10");
  });

  test("an ended instance does not show its last activity as current", () => {
    connect([instance({ stopped: true, status: { phase: "syncing", done: 7 } })]);
    observe(3000);
    expect(find(".card-activity")?.textContent).toBe("Ended 3 s ago");
    expect(value("phase")).toBe("syncing");
    act(() => FakeSource.last.fail());
    expect(testid("card")?.dataset["state"]).toBe("unknown");
    expect(find(".card-activity")?.textContent).toBe("Ended 3 s ago");
  });

  test("shows a stuck event loop beside the state", () => {
    connect([instance({ lag_ms: 12_300 })]);
    expect(testid("card")?.dataset).toMatchObject({ state: "alive", stuck: "true" });
    expect(stateNote()).toBe("event loop stuck for 12 s");
  });
});

describe("incidents", () => {
  const LOSS = {
    service: "balance-sync",
    instance: "w1:11",
    seen: T,
    cause: "silent",
    heartbeat_s: 5,
  };
  const incidents = [
    { ...LOSS, id: `${T + 13_000}-0`, declared: T + 13_000 },
    { ...LOSS, id: `${T - 1000}-7`, seen: T - 60_000, declared: T - 1000, cause: "overdue" },
  ];
  const words = { ...incidents[1], status: { done: 41 }, timestamp: T - 61_000, last_id: "1-0" };
  const fetchMock = vi.fn<typeof fetch>();
  const settle = () => act(async () => void (await vi.advanceTimersByTimeAsync(0)));

  beforeEach(() => {
    vi.stubGlobal("fetch", fetchMock);
    fetchMock.mockReset();
    fetchMock.mockImplementation(async () => new Response(JSON.stringify({ incidents: [words] })));
  });

  test("are counted in the summary if there are any", () => {
    connect([instance()]);
    expect(testid("incident-tally")).toBeNull();
    connect([instance()], { incidents });
    expect(testid("incident-tally")?.textContent).toBe("2incidents");
    connect([instance()], { incidents: [{ ...incidents[0], declared: T - 90_000_000 }] });
    expect(testid("incident-tally")?.textContent).toBe("0incidents");
  });

  test("open from their count, show instance, cause and outcome, and are stored in the URL", () => {
    connect([instance({ lost: true })], { incidents });
    act(() => testid("incident-tally")?.click());
    expect(window.location.search).toBe("?incidents=open");
    const rows = all('[data-testid="incident"]');
    expect(rows.map((row) => row.dataset["outcome"])).toEqual(["lost", "returned"]);
    expect(rows[0]?.textContent).toContain("balance-sync w1:11");
    expect(rows[0]?.textContent).toContain("no heartbeat since");
    expect(rows[1]?.textContent).toContain("missed its return");
    act(() => {
      testid("incidents")?.dispatchEvent(
        new KeyboardEvent("keydown", { key: "Escape", bubbles: true }),
      );
    });
    expect(testid("incidents")).toBeNull();
    expect(window.location.search).toBe("");
  });

  test("fetch their last words when they are selected", async () => {
    connect([instance()], { incidents });
    act(() => testid("incident-tally")?.click());
    expect(fetchMock).not.toHaveBeenCalled();
    act(() => all('[data-testid="incident"] button')[1]?.click());
    expect(testid("last-words")?.textContent).toContain("Loading");
    await settle();
    expect(fetchMock.mock.calls.map(([url]) => url)).toEqual([
      `api/incidents?before=${T - 1000}-8&limit=1`,
    ]);
    expect(
      testid("last-words")?.querySelector('[data-field="done"] [data-value]')?.textContent,
    ).toBe("41");
    expect(window.location.search).toBe(`?incidents=${T - 1000}-7`);
    act(() => all('[data-testid="incident"] button')[1]?.click());
    expect(testid("last-words")).toBeNull();
    expect(window.location.search).toBe("?incidents=open");
  });

  test("show the last log lines as text, with their level in words", async () => {
    const lines = [
      { id: "1-0.0", timestamp: T, level: "info", message: "row 41" },
      {
        id: "1-0.1",
        timestamp: T,
        level: "error",
        message: "<b>failed</b>",
        traceback: "ValueError: row",
      },
    ];
    fetchMock.mockImplementation(
      async () => new Response(JSON.stringify({ incidents: [{ ...words, lines }] })),
    );
    connect([instance()], { incidents });
    act(() => testid("incident-tally")?.click());
    act(() => all('[data-testid="incident"] button')[1]?.click());
    await settle();
    const shown = [...(testid("last-lines")?.children ?? [])].map((line) => line.textContent);
    expect(shown[0]).toMatch(/inforow 41$/);
    expect(shown[1]).toMatch(/error<b>failed<\/b>ValueError: row$/);
  });

  test("report expired last words and failed requests, and can be retried", async () => {
    connect([instance()], { incidents });
    act(() => testid("incident-tally")?.click());
    act(() => all('[data-testid="incident"] button')[0]?.click());
    await settle();
    expect(testid("last-words")?.textContent).toContain("no longer kept");
    fetchMock.mockImplementation(async () => new Response("{}", { status: 503 }));
    act(() => all('[data-testid="incident"] button')[1]?.click());
    await settle();
    expect(testid("last-words")?.textContent).toContain(
      "could not be loaded: the server returned 503.",
    );
    fetchMock.mockImplementation(async () => new Response(JSON.stringify({ incidents: [words] })));
    act(() => testid("last-words")?.querySelector("button")?.click());
    await settle();
    expect(testid("last-words")?.textContent).toContain("Its last words");
  });

  test("named in the URL are shown even if they are older than the latest", async () => {
    window.history.replaceState(null, "", `/services?incidents=${words.id}`);
    window.dispatchEvent(new PopStateEvent("popstate"));
    connect([instance()], { incidents: incidents.slice(0, 1) });
    await settle();
    expect(all('[data-testid="incident"]')).toHaveLength(2);
    expect(testid("last-words")?.textContent).toContain("41");
  });
});

describe("many instances", () => {
  const many = (n: number, over: object = {}) =>
    [...Array(n).keys()].map((i) => instance({ instance: `w${i}`, ...over }));

  test("of one service are grouped under its name, with a count per state", () => {
    connect([...many(3), instance({ instance: "z", seen: T - 60_000 })]);
    expect(testid("group")?.querySelector("header")?.textContent).toBe("balance-sync3 alive1 lost");
    expect(all('[data-testid="card"]').map((card) => card.dataset["instance"])).toEqual([
      "w0",
      "w1",
      "w2",
      "z",
    ]);
  });

  test("that have ended are collapsed, and expand on a click", () => {
    connect([instance({ instance: "live" }), ...many(3, { stopped: true })]);
    expect(all('[data-testid="card"]')).toHaveLength(1);
    const button = find(".collapsed button");
    expect(button?.textContent).toContain("3 ended instances");
    act(() => button?.click());
    expect(all('[data-testid="card"]')).toHaveLength(4);
  });

  test("are filtered by the counts, and the filter is stored in the URL", () => {
    connect([...many(2), instance({ service: "other", seen: T - 60_000 })]);
    act(() => find('.tally[data-state="lost"]')?.click());
    expect(all('[data-testid="card"]').map((card) => card.dataset["service"])).toEqual(["other"]);
    expect(window.location.search).toBe("?state=lost");
    act(() => find('.tally[data-state="lost"]')?.click());
    expect(all('[data-testid="card"]')).toHaveLength(3);
  });

  test("are searched after a slash; a search without results says so", () => {
    connect(many(8));
    const input = find("input[type=search]") as HTMLInputElement;
    act(() => {
      window.dispatchEvent(new KeyboardEvent("keydown", { key: "/", cancelable: true }));
    });
    expect(document.activeElement).toBe(input);
    act(() => {
      input.value = "no-match";
      input.dispatchEvent(new Event("input", { bubbles: true }));
    });
    expect(testid("nothing-matches")).not.toBeNull();
    expect(window.location.search).toBe("?q=no-match");
    act(() => find(".notice .button")?.click());
    expect(all('[data-testid="card"]')).toHaveLength(8);
  });
});

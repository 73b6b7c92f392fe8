/** A fake EventSource that a test controls. */

export class FakeSource extends EventTarget {
  static readonly CONNECTING = 0;
  static readonly OPEN = 1;
  static readonly CLOSED = 2;
  static all: FakeSource[] = [];
  static get last(): FakeSource {
    const last = FakeSource.all.at(-1);
    if (!last) throw new Error("no EventSource was created");
    return last;
  }

  readyState = FakeSource.CONNECTING;

  constructor(readonly url: string) {
    super();
    FakeSource.all.push(this);
  }

  open(): void {
    this.readyState = FakeSource.OPEN;
    this.dispatchEvent(new Event("open"));
  }

  send(event: string, data: unknown, lastEventId = "1765584000000-0"): void {
    const text = typeof data === "string" ? data : JSON.stringify(data);
    this.dispatchEvent(new MessageEvent(event, { data: text, lastEventId }));
  }

  /** End the connection. The browser reconnects if the state is CONNECTING. */
  fail(readyState = FakeSource.CONNECTING): void {
    this.readyState = readyState;
    this.dispatchEvent(new Event("error"));
  }

  close(): void {
    this.readyState = FakeSource.CLOSED;
  }
}

export const BOARD = {
  now: 1_765_584_000_000,
  observed_until: 1_765_584_000_000,
  observed_since: 0,
  blind: null,
  gap: null as object | null,
  omitted: 0,
  ping_s: 5,
  version: "0.1.0",
  insecure: false,
  expect: [] as string[],
  instances: [] as unknown[],
  incidents: [] as unknown[],
};

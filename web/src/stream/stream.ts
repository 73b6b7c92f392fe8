/**
 * The one connection to the server: opens it, watches it, and opens it again. It never gives up and never polls.
 * Invariant: at most one EventSource is open, and no frame of an older one is heard.
 */

import { backoffMs } from "../lib/backoff";
import { decode } from "../wire/decode";
import { EVENTS, type EventName, type Message } from "../wire/message";
import { Complaints } from "./complaint";
import { Stopwatch } from "./elapsed";
import type { Link, LinkStatus } from "./link";

/** Silence of this many pings condemns a connection: laptop sleep leaves one open but dead. */
const SILENT_PINGS = 3;
/** The server says its own in each board; until then, this. */
const DEFAULT_PING_S = 5;
/** After so many tries in a row that failed, the word is "disconnected". */
const PATIENCE = 3;
/** After a `bye`, the browser waits out the `retry` itself; if it is not back by then, we take over. */
const BYE_GRACE_MS = 10_000;

export interface Listener {
  message(message: Message): void;
  link(link: Link): void;
  /** Something arrived, whatever it was. */
  life(): void;
  dropped(count: number): void;
}

export class BoardStream {
  private source: EventSource | null = null;
  private cursor = "";
  private failures = 0;
  private opened = 0;
  private status: LinkStatus = "reconnecting";
  private silenceMs = SILENT_PINGS * DEFAULT_PING_S * 1000;
  private limitMs = this.silenceMs;
  private leaving = false;
  private retryTimer: ReturnType<typeof setTimeout> | undefined;
  private watchTimer: ReturnType<typeof setTimeout> | undefined;
  private readonly life = new Stopwatch();
  private readonly complaints = new Complaints();

  constructor(
    private readonly url: string,
    private readonly listener: Listener,
  ) {}

  start(): void {
    document.addEventListener("visibilitychange", this.lookAgain);
    window.addEventListener("online", this.lookAgain);
    window.addEventListener("offline", this.tell);
    window.addEventListener("pageshow", this.lookAgain);
    this.open();
  }

  stop(): void {
    document.removeEventListener("visibilitychange", this.lookAgain);
    window.removeEventListener("online", this.lookAgain);
    window.removeEventListener("offline", this.tell);
    window.removeEventListener("pageshow", this.lookAgain);
    this.close();
  }

  private open(): void {
    this.close();
    const source = new EventSource(
      this.cursor ? `${this.url}?since=${encodeURIComponent(this.cursor)}` : this.url,
    );
    this.source = source;
    this.life.restart();
    source.addEventListener("open", () => this.whenOpen(source));
    source.addEventListener("error", () => this.whenError(source));
    for (const event of EVENTS) source.addEventListener(event, (frame) => this.hear(source, event, frame));
    this.watch(this.silenceMs);
  }

  private close(): void {
    clearTimeout(this.retryTimer);
    clearTimeout(this.watchTimer);
    this.retryTimer = undefined;
    this.leaving = false;
    this.source?.close();
    this.source = null;
  }

  private whenOpen(source: EventSource): void {
    if (source !== this.source) return;
    this.leaving = false;
    this.failures = 0;
    this.opened += 1;
    this.sign();
    this.watch(this.silenceMs);
    this.turn("connected");
  }

  private whenError(source: EventSource): void {
    if (source !== this.source) return;
    if (this.leaving && source.readyState === EventSource.CONNECTING) {
      // `retry:` cannot be read by a page, only obeyed by the browser: let it come back as the server asked.
      this.leaving = false;
      this.watch(BYE_GRACE_MS);
      this.turn("reconnecting");
      return;
    }
    this.fail();
  }

  /** Give this connection up and come back later. */
  private fail(): void {
    this.close();
    this.failures += 1;
    if (this.failures >= PATIENCE) this.cursor = ""; // the cursor may be what the server refuses: ask for a whole board
    this.retryTimer = setTimeout(() => this.open(), backoffMs(this.failures - 1));
    this.tell();
  }

  private hear(source: EventSource, event: EventName, frame: MessageEvent<string>): void {
    if (source !== this.source) return;
    this.sign();
    if (frame.lastEventId) this.cursor = frame.lastEventId;
    let message: Message;
    try {
      message = decode(event, frame.data, frame.lastEventId);
    } catch (error) {
      this.complaints.add(event, error);
      this.listener.dropped(this.complaints.count);
      if (event === "board") this.cursor = ""; // without it nothing stands: ask for all of it next time
      return;
    }
    if (message.type === "board") {
      this.silenceMs = SILENT_PINGS * message.ping_s * 1000;
      this.watch(this.silenceMs);
    }
    if (message.type === "bye") this.leaving = true;
    this.listener.message(message);
  }

  private sign(): void {
    this.life.restart();
    this.listener.life();
  }

  /** Condemn the connection after `limitMs` without a sign; one timer, however many frames come. */
  private watch(limitMs: number): void {
    clearTimeout(this.watchTimer);
    this.limitMs = limitMs;
    this.watchTimer = setTimeout(
      () => (this.life.ms >= this.limitMs ? this.fail() : this.watch(this.limitMs)),
      Math.max(0, limitMs - this.life.ms),
    );
  }

  /** The page is looked at again, or the network is back: do not wait for a timer to find out. */
  private readonly lookAgain = (): void => {
    if (document.visibilityState === "hidden") return;
    if (this.source === null || this.life.ms > this.silenceMs) {
      if (this.source !== null) this.turn("reconnecting");
      this.open();
    } else this.tell();
  };

  private readonly tell = (): void => {
    if (this.status === "connected" && this.source?.readyState === EventSource.OPEN) return;
    this.turn(!navigator.onLine || this.failures >= PATIENCE ? "disconnected" : "reconnecting");
  };

  private turn(status: LinkStatus): void {
    this.status = status;
    this.listener.link({ status, failures: this.failures, opened: this.opened });
  }
}

/**
 * The one connection to the server: opens it, watches it, and opens it again. It never gives up and never polls.
 * Invariant: at most one EventSource is open, and no frame of an older one is heard.
 */

import { backoffMs } from "../lib/backoff";
import { decode } from "../wire/decode";
import { EVENTS, type EventName, type Message } from "../wire/message";
import { Complaints } from "./complaint";
import { Stopwatch } from "./elapsed";
import type { Link, LinkFault, LinkStatus } from "./link";

/** Silence of this many pings condemns a connection: laptop sleep leaves one open but dead. */
const SILENT_PINGS = 3;
/** The server says its own in each board; until then, this. */
const DEFAULT_PING_S = 5;
/** How often to look whether it is that silent: a machine that wakes up knows within this. */
const WATCH_MS = 1000;
/** After so many tries in a row that failed, the word is "disconnected". */
const PATIENCE = 3;
/** A connection that was open for so long was a good one; a server that lets us in and falls over is not to be hammered. */
const SETTLED_MS = 5000;
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
  /** Tries in a row that were answered and still came to nothing. */
  private doubts = 0;
  private opened = 0;
  private status: LinkStatus = "reconnecting";
  private fault: LinkFault | null = null;
  private silenceMs = SILENT_PINGS * DEFAULT_PING_S * 1000;
  private limitMs = this.silenceMs;
  private leaving = false;
  private retryTimer: ReturnType<typeof setTimeout> | undefined;
  private watchTimer: ReturnType<typeof setTimeout> | undefined;
  private readonly life = new Stopwatch();
  /** Runs since this connection was opened. */
  private readonly age = new Stopwatch();
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
      this.cursor
        ? `${this.url}${this.url.includes("?") ? "&" : "?"}since=${encodeURIComponent(this.cursor)}`
        : this.url,
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
    this.opened += 1;
    this.age.restart();
    this.life.restart();
    this.watch(this.silenceMs);
    this.turn("connected");
  }

  private whenError(source: EventSource): void {
    if (source !== this.source) return;
    if (this.leaving && source.readyState === EventSource.CONNECTING) {
      // `retry:` cannot be read by a page, only obeyed by the browser: let it come back as the server asked.
      this.leaving = false;
      this.lose("bye");
      this.watch(BYE_GRACE_MS);
      this.turn("reconnecting");
      return;
    }
    if (source.readyState === EventSource.CLOSED) this.fail("refused");
    else this.fail(this.status === "connected" ? "ended" : "no-answer");
  }

  /** Give this connection up and come back later. */
  private fail(fault: LinkFault): void {
    const answered = this.status === "connected" || fault === "refused";
    this.close();
    this.lose(fault);
    this.failures += 1;
    if (answered) this.doubts += 1;
    if (this.doubts >= PATIENCE) this.cursor = ""; // it may be what the server stumbles over: ask for a whole board
    this.retryTimer = setTimeout(() => this.open(), backoffMs(this.failures - 1));
    this.turn(this.away());
  }

  /** Note why the stream is lost. That no answer comes after that says only that it is not back yet. */
  private lose(fault: LinkFault): void {
    if (this.status === "connected" && this.age.ms >= SETTLED_MS) {
      this.failures = 0;
      this.doubts = 0;
    }
    if (fault !== "no-answer" || this.fault === null) this.fault = fault;
  }

  private hear(source: EventSource, event: EventName, frame: MessageEvent<string>): void {
    if (source !== this.source) return;
    this.life.restart();
    this.listener.life();
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

  /** Condemn the connection after `limitMs` without a frame; one timer, however many frames come. */
  private watch(limitMs: number): void {
    clearTimeout(this.watchTimer);
    this.limitMs = limitMs;
    const left = Math.max(0, limitMs - this.life.ms);
    // Never for long at once: a timer stands still while the machine sleeps.
    this.watchTimer = setTimeout(() => this.look(), Math.min(left, WATCH_MS));
  }

  private look(): void {
    if (this.life.ms < this.limitMs) this.watch(this.limitMs);
    else this.fail(this.status === "connected" ? "silent" : "no-answer");
  }

  /** The page is looked at again, or the network is back: do not wait for a timer to find out. */
  private readonly lookAgain = (): void => {
    if (document.visibilityState === "hidden") return;
    // A page that comes out of the browser's cache may find its connection closed, and no word of it.
    const closed = this.source === null || this.source.readyState === EventSource.CLOSED;
    if (closed || this.life.ms > this.silenceMs) {
      if (this.status === "connected") {
        this.lose("silent");
        this.turn("reconnecting");
      }
      this.open();
    } else this.tell();
  };

  private readonly tell = (): void => {
    if (this.status !== "connected") this.turn(this.away());
  };

  private away(): LinkStatus {
    return !navigator.onLine || this.failures >= PATIENCE ? "disconnected" : "reconnecting";
  }

  private turn(status: LinkStatus): void {
    this.status = status;
    const { failures, opened } = this;
    const fault = status !== "connected" && !navigator.onLine ? "offline" : this.fault;
    this.listener.link({ status, failures, opened, fault });
  }
}

/**
 * The page's only connection to the server: opens it, watches it and reopens it. It retries for
 * ever and never polls.
 * Invariant: at most one EventSource is open, and frames of older ones are ignored.
 */

import { backoffMs } from "../lib/backoff";
import { decode } from "../wire/decode";
import { EVENTS, type EventName, type Message } from "../wire/message";
import type { ConnectionFault, ConnectionState, ConnectionStatus } from "./connection";
import { DroppedFrames } from "./dropped-frames";
import { Stopwatch } from "./stopwatch";

/**
 * The page closes a connection after this many ping intervals without a frame, because after sleep
 * the browser may keep a dead connection open.
 */
const SILENT_PINGS = 3;
/** The ping interval until a board reports the server's own. */
const DEFAULT_PING_S = 5;
/** How often the page checks for silence. It finds a dead connection this soon after sleep. */
const CHECK_INTERVAL_MS = 1000;
/**
 * The status is "disconnected" after this many consecutive failed attempts. After as many to which
 * the server responded, the page requests a whole board.
 */
const MAX_RECONNECTING_FAILURES = 3;
/**
 * A connection that lasted at least this long resets the backoff. So the page does not reconnect
 * quickly to a server that accepts connections and then crashes.
 */
const STABLE_MS = 5000;
/** After `bye` the browser reconnects by itself. After this time without a frame, the page does. */
const BYE_GRACE_MS = 10_000;

export interface StreamListener {
  onMessage(message: Message): void;
  onConnection(connection: ConnectionState): void;
  /** A frame arrived, well-formed or not. */
  onFrame(): void;
  /** A malformed frame was dropped; `count` is the total. */
  onDropped(count: number): void;
}

export class BoardStream {
  private source: EventSource | null = null;
  private cursor = "";
  private failures = 0;
  /** Consecutive failed attempts in which the server did respond. */
  private answeredFailures = 0;
  private opened = 0;
  private status: ConnectionStatus = "reconnecting";
  private fault: ConnectionFault | null = null;
  private maxSilenceMs = SILENT_PINGS * DEFAULT_PING_S * 1000;
  private limitMs = this.maxSilenceMs;
  private byeReceived = false;
  private retryTimer: ReturnType<typeof setTimeout> | undefined;
  private silenceTimer: ReturnType<typeof setTimeout> | undefined;
  private readonly sinceFrame = new Stopwatch();
  private readonly sinceOpen = new Stopwatch();
  private readonly droppedFrames = new DroppedFrames();

  constructor(
    private readonly url: string,
    private readonly listener: StreamListener,
  ) {}

  start(): void {
    document.addEventListener("visibilitychange", this.checkNow);
    window.addEventListener("online", this.checkNow);
    window.addEventListener("offline", this.reportAbsence);
    window.addEventListener("pageshow", this.checkNow);
    this.open();
  }

  stop(): void {
    document.removeEventListener("visibilitychange", this.checkNow);
    window.removeEventListener("online", this.checkNow);
    window.removeEventListener("offline", this.reportAbsence);
    window.removeEventListener("pageshow", this.checkNow);
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
    this.sinceFrame.restart();
    source.addEventListener("open", () => this.onOpen(source));
    source.addEventListener("error", () => this.onError(source));
    for (const event of EVENTS)
      source.addEventListener(event, (frame) => this.receive(source, event, frame));
    this.limitSilence(this.maxSilenceMs);
  }

  private close(): void {
    clearTimeout(this.retryTimer);
    clearTimeout(this.silenceTimer);
    this.retryTimer = undefined;
    this.byeReceived = false;
    this.source?.close();
    this.source = null;
  }

  private onOpen(source: EventSource): void {
    if (source !== this.source) return;
    this.byeReceived = false;
    this.opened += 1;
    this.sinceOpen.restart();
    this.sinceFrame.restart();
    this.limitSilence(this.maxSilenceMs);
    this.report("connected");
  }

  private onError(source: EventSource): void {
    if (source !== this.source) return;
    if (this.byeReceived && source.readyState === EventSource.CONNECTING) {
      // Only the browser can read the delay in `retry:`, so the browser reconnects, not the page.
      this.byeReceived = false;
      this.recordFault("bye");
      this.limitSilence(BYE_GRACE_MS);
      this.report("reconnecting");
      return;
    }
    if (source.readyState === EventSource.CLOSED) this.fail("refused");
    else this.fail(this.status === "connected" ? "ended" : "no-answer");
  }

  /** Close the connection and schedule the next attempt. */
  private fail(fault: ConnectionFault): void {
    const answered = this.status === "connected" || fault === "refused";
    this.close();
    this.recordFault(fault);
    this.failures += 1;
    if (answered) this.answeredFailures += 1;
    // The server may fail because of this cursor: request a whole board instead.
    if (this.answeredFailures >= MAX_RECONNECTING_FAILURES) this.cursor = "";
    this.retryTimer = setTimeout(() => this.open(), backoffMs(this.failures - 1));
    this.report(this.absentStatus());
  }

  /** Record why the stream ended. A later `no-answer` does not replace the original reason. */
  private recordFault(fault: ConnectionFault): void {
    if (this.status === "connected" && this.sinceOpen.ms >= STABLE_MS) {
      this.failures = 0;
      this.answeredFailures = 0;
    }
    if (fault !== "no-answer" || this.fault === null) this.fault = fault;
  }

  private receive(source: EventSource, event: EventName, frame: MessageEvent<string>): void {
    if (source !== this.source) return;
    this.sinceFrame.restart();
    this.listener.onFrame();
    if (frame.lastEventId) this.cursor = frame.lastEventId;
    let message: Message;
    try {
      message = decode(event, frame.data, frame.lastEventId);
    } catch (error) {
      this.droppedFrames.add(event, error);
      this.listener.onDropped(this.droppedFrames.count);
      // Later events need the board, so a connection that opens before the next frame with an id
      // requests a whole one.
      if (event === "board") this.cursor = "";
      return;
    }
    if (message.type === "board") {
      this.maxSilenceMs = SILENT_PINGS * message.ping_s * 1000;
      this.limitSilence(this.maxSilenceMs);
    }
    if (message.type === "bye") this.byeReceived = true;
    this.listener.onMessage(message);
  }

  /** Fail the connection after `limitMs` without a frame. One timer serves all frames. */
  private limitSilence(limitMs: number): void {
    clearTimeout(this.silenceTimer);
    this.limitMs = limitMs;
    const left = Math.max(0, limitMs - this.sinceFrame.ms);
    // Timers stop while the machine sleeps, so each one is short.
    this.silenceTimer = setTimeout(() => this.checkSilence(), Math.min(left, CHECK_INTERVAL_MS));
  }

  private checkSilence(): void {
    if (this.sinceFrame.ms < this.limitMs) this.limitSilence(this.limitMs);
    else this.fail(this.status === "connected" ? "silent" : "no-answer");
  }

  /** Check the connection at once when the page becomes visible or the network returns. */
  private readonly checkNow = (): void => {
    if (document.visibilityState === "hidden") return;
    // The browser may close the connection of a page in its back/forward cache without an event.
    const closed = this.source === null || this.source.readyState === EventSource.CLOSED;
    if (closed || this.sinceFrame.ms > this.maxSilenceMs) {
      if (this.status === "connected") {
        this.recordFault("silent");
        this.report("reconnecting");
      }
      this.open();
    } else this.reportAbsence();
  };

  private readonly reportAbsence = (): void => {
    if (this.status !== "connected") this.report(this.absentStatus());
  };

  private absentStatus(): ConnectionStatus {
    return !navigator.onLine || this.failures >= MAX_RECONNECTING_FAILURES
      ? "disconnected"
      : "reconnecting";
  }

  private report(status: ConnectionStatus): void {
    this.status = status;
    const { failures, opened } = this;
    const fault = status !== "connected" && !navigator.onLine ? "offline" : this.fault;
    this.listener.onConnection({ status, failures, opened, fault });
  }
}

/**
 * The panel of incidents: whether it is open, which incident is selected, and its last words, which
 * are fetched on selection. The URL stores both: `?incidents=open`, `?incidents=<id>`.
 */

import { signal } from "@preact/signals";
import { idAfter, timeOf } from "../wire/cursor";
import { decodeIncidents } from "../wire/decode";
import type { Incident, LogLine } from "../wire/message";
import type { Board } from "./board";
import { Fields } from "./fields";
import { readQuery, writeQuery } from "./query";

const PARAMETER = "incidents";
const OPEN = "open";
const REQUEST_TIMEOUT_MS = 10_000;

export type LastWordsState =
  | { kind: "loading" }
  | { kind: "failed"; reason: string }
  | { kind: "expired" }
  | { kind: "loaded"; incident: Incident; fields: Fields; timestamp: number; lines: LogLine[] };

export class IncidentPanel {
  readonly open = signal(false);
  /** The id of the selected incident; "" for none. */
  readonly selected = signal("");
  readonly lastWords = signal<LastWordsState | null>(null);
  private request = new AbortController();

  constructor(private readonly url: string) {}

  start(): void {
    window.addEventListener("popstate", this.read);
    this.read();
  }

  stop(): void {
    window.removeEventListener("popstate", this.read);
    this.request.abort();
  }

  toggle(): void {
    this.open.value = !this.open.peek();
    this.select("");
  }

  /** Select an incident, or none if this one is selected already. */
  toggleIncident(id: string): void {
    this.select(id === this.selected.peek() ? "" : id);
  }

  /** Fetch the last words of the selected incident. Also the retry after a failure. */
  async load(): Promise<void> {
    const id = this.selected.peek();
    this.request.abort();
    this.request = new AbortController();
    const signal = AbortSignal.any([this.request.signal, AbortSignal.timeout(REQUEST_TIMEOUT_MS)]);
    const { request } = this;
    this.lastWords.value = { kind: "loading" };
    const lastWords = await this.fetch(id, signal).catch(failed);
    if (!request.signal.aborted) this.lastWords.value = lastWords;
  }

  private select(id: string): void {
    this.selected.value = id;
    writeQuery({ [PARAMETER]: id || (this.open.peek() ? OPEN : "") });
    if (id !== "") void this.load();
    else this.request.abort();
  }

  private async fetch(id: string, signal: AbortSignal): Promise<LastWordsState> {
    // `before` is exclusive, so the query names the next id to include this one.
    const query = new URLSearchParams({ before: idAfter(id), limit: "1" });
    const response = await fetch(`${this.url}?${query}`, { signal });
    if (!response.ok) throw new Error(`the server returned ${response.status}`);
    const [found] = decodeIncidents(await response.text());
    if (found?.id !== id) return { kind: "expired" };
    const fields = new Fields();
    fields.apply(found.status);
    return {
      kind: "loaded",
      incident: found,
      fields,
      timestamp: found.timestamp,
      lines: found.lines,
    };
  }

  private readonly read = (): void => {
    const named = readQuery(PARAMETER);
    const id = timeOf(named) === null ? "" : named;
    this.open.value = named === OPEN || id !== "";
    if (id === this.selected.peek()) return;
    this.selected.value = id;
    if (id !== "") void this.load();
  };
}

function failed(error: unknown): LastWordsState {
  return { kind: "failed", reason: error instanceof Error ? error.message : String(error) };
}

/** The state of an instance after its incident. */
export type Outcome = "lost" | "returned" | "gone" | "unknown";

/** Return the state of an instance after its incident. Reads signals, so callers track them. */
export function outcomeOf(incident: Incident, board: Board): Outcome {
  if (board.freshness.stale.value) return "unknown";
  const seen = board.find(incident.service, incident.instance)?.seen.value ?? null;
  if (seen === null) return "gone";
  return seen > incident.seen ? "returned" : "lost";
}

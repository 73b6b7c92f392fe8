/**
 * The panel of incidents: whether it is open, which incident is looked into, and its last words, read when asked for.
 * The URL holds what is looked at: `?incidents=open`, `?incidents=<id>`.
 */

import { signal } from "@preact/signals";
import { idAfter, timeOf } from "../wire/cursor";
import { decodeIncidents } from "../wire/decode";
import type { Incident, LogLine } from "../wire/message";
import type { Board } from "./board";
import { Fields } from "./fields";
import { readQuery, writeQuery } from "./query";

const NAME = "incidents";
const OPEN = "open";
const PATIENCE_MS = 10_000;

export type LastSaid =
  | { kind: "reading" }
  | { kind: "failed"; reason: string }
  | { kind: "forgotten" }
  | { kind: "there"; incident: Incident; fields: Fields; timestamp: number; lines: LogLine[] };

export class IncidentPanel {
  readonly open = signal(false);
  /** The id of the incident that is looked into; "" for none. */
  readonly chosen = signal("");
  readonly said = signal<LastSaid | null>(null);
  private asked = new AbortController();

  constructor(private readonly url: string) {}

  start(): void {
    window.addEventListener("popstate", this.read);
    this.read();
  }

  stop(): void {
    window.removeEventListener("popstate", this.read);
    this.asked.abort();
  }

  toggle(): void {
    this.open.value = !this.open.peek();
    this.look("");
  }

  /** Look into one incident; into none, if it is the one already. */
  choose(id: string): void {
    this.look(id === this.chosen.peek() ? "" : id);
  }

  /** Read the last words of the chosen incident, again if they could not be read. */
  async ask(): Promise<void> {
    const id = this.chosen.peek();
    this.asked.abort();
    this.asked = new AbortController();
    const signal = AbortSignal.any([this.asked.signal, AbortSignal.timeout(PATIENCE_MS)]);
    const { asked } = this;
    this.said.value = { kind: "reading" };
    const said = await this.fetch(id, signal).catch(failed);
    if (!asked.signal.aborted) this.said.value = said;
  }

  private look(id: string): void {
    this.chosen.value = id;
    writeQuery({ [NAME]: id || (this.open.peek() ? OPEN : "") });
    if (id !== "") void this.ask();
    else this.asked.abort();
  }

  private async fetch(id: string, signal: AbortSignal): Promise<LastSaid> {
    // The latest of those before the id that follows it is the one itself.
    const query = new URLSearchParams({ before: idAfter(id), limit: "1" });
    const answer = await fetch(`${this.url}?${query}`, { signal });
    if (!answer.ok) throw new Error(`the server answered ${answer.status}`);
    const [found] = decodeIncidents(await answer.text());
    if (found?.id !== id) return { kind: "forgotten" };
    const fields = new Fields();
    fields.apply(found.status);
    return { kind: "there", incident: found, fields, timestamp: found.timestamp, lines: found.lines };
  }

  private readonly read = (): void => {
    const named = readQuery(NAME);
    const id = timeOf(named) === null ? "" : named;
    this.open.value = named === OPEN || id !== "";
    if (id === this.chosen.peek()) return;
    this.chosen.value = id;
    if (id !== "") void this.ask();
  };
}

function failed(error: unknown): LastSaid {
  return { kind: "failed", reason: error instanceof Error ? error.message : String(error) };
}

/** What became of whoever was lost. */
export type Outcome = "lost" | "returned" | "gone" | "unknown";

/** Judge by the board what became of an instance after an incident. Reads signals: call where that should be tracked. */
export function outcomeOf(incident: Incident, board: Board): Outcome {
  if (board.sight.dark.value) return "unknown";
  const seen = board.find(incident.service, incident.instance)?.seen.value ?? null;
  if (seen === null) return "gone";
  return seen > incident.seen ? "returned" : "lost";
}

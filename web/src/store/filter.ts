/** The filter of instances, stored in the URL: `?state=late,lost&q=sync`. */

import { computed, signal } from "@preact/signals";
import { STATES, type State } from "../wire/state";
import type { InstanceModel } from "./instance";
import { readQuery, writeQuery } from "./query";

export class Filter {
  readonly states = signal<ReadonlySet<State>>(new Set());
  readonly query = signal("");
  readonly active = computed(() => this.states.value.size > 0 || this.query.value.trim() !== "");

  /** Read the filter from the URL, and again after each back or forward navigation. */
  start(): void {
    window.addEventListener("popstate", this.read);
    this.read();
  }

  stop(): void {
    window.removeEventListener("popstate", this.read);
  }

  toggle(state: State): void {
    const next = new Set(this.states.peek());
    if (!next.delete(state)) next.add(state);
    this.states.value = next;
    this.write();
  }

  search(query: string): void {
    this.query.value = query;
    this.write();
  }

  clear(): void {
    this.states.value = new Set();
    this.search("");
  }

  /** Return whether an instance passes the filter. Reads signals of both, so callers track them. */
  passes(model: InstanceModel): boolean {
    if (this.states.value.size > 0 && !this.states.value.has(model.state.value)) return false;
    const words = this.query.value.toLowerCase().split(/\s+/).filter(Boolean);
    if (words.length === 0) return true;
    const text = `${model.service} ${model.instance} ${model.activityText.value}`.toLowerCase();
    return words.every((word) => text.includes(word));
  }

  private readonly read = (): void => {
    const named = readQuery("state").split(",");
    this.states.value = new Set(STATES.filter((state) => named.includes(state)));
    this.query.value = readQuery("q");
  };

  private write(): void {
    const states = STATES.filter((state) => this.states.peek().has(state)).join(",");
    writeQuery({ state: states, q: this.query.peek().trim() });
  }
}

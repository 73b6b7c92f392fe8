/** The latest incidents, newest first, each once however often it is told. */

import { signal } from "@preact/signals";
import { isAfter } from "../wire/cursor";
import type { Incident } from "../wire/message";

/** As many as a board tells; older ones are the server's to remember. */
export const MAX_LOSSES = 20;

export class Losses {
  readonly latest = signal<readonly Incident[]>([]);

  replace(incidents: readonly Incident[]): void {
    this.latest.value = incidents.slice(0, MAX_LOSSES);
  }

  add(incident: Incident): void {
    const others = this.latest.peek().filter((known) => known.id !== incident.id);
    const place = others.findIndex((known) => isAfter(incident.id, known.id));
    this.latest.value = others.toSpliced(place < 0 ? others.length : place, 0, incident).slice(0, MAX_LOSSES);
  }
}

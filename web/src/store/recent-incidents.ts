/** The latest incidents, newest first. An incident that arrives twice is kept once. */

import { signal } from "@preact/signals";
import { isAfter } from "../wire/cursor";
import type { Incident } from "../wire/message";

/** The number of incidents in a board. The server keeps older ones. */
export const MAX_RECENT_INCIDENTS = 20;

export class RecentIncidents {
  readonly latest = signal<readonly Incident[]>([]);

  replace(incidents: readonly Incident[]): void {
    this.latest.value = incidents.slice(0, MAX_RECENT_INCIDENTS);
  }

  add(incident: Incident): void {
    const others = this.latest.peek().filter((known) => known.id !== incident.id);
    const place = others.findIndex((known) => isAfter(incident.id, known.id));
    this.latest.value = others
      .toSpliced(place < 0 ? others.length : place, 0, incident)
      .slice(0, MAX_RECENT_INCIDENTS);
  }
}

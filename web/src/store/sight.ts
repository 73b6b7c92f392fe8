/** What the page can see: the link to the server, the server's view of Redis, and what silence proves. */

import { computed, signal } from "@preact/signals";
import type { Link } from "../stream/link";
import type { Blind, CoverageGap, View } from "../wire/message";

export class Sight {
  readonly link = signal<Link>({ status: "reconnecting", failures: 0, opened: 0, fault: null });
  readonly blind = signal<Blind | null>(null);
  /** When plain publishes were last not heard. */
  readonly gap = signal<CoverageGap | null>(null);
  /** How many instances the board has no room for. */
  readonly omitted = signal(0);
  /** Redis' time up to which every sign of life has come here. It stands still when nothing comes. */
  readonly observedUntil = signal(0);
  /** Redis' time from which on silence proves something. */
  readonly observedSince = signal(0);
  /** The server told what it sees since the link came up. An open link alone vouches for nothing. */
  readonly told = signal(false);

  /** The page has lost its server. */
  readonly lost = computed(() => this.link.value.status !== "connected" || !this.told.value);
  /** Nothing on the board can be vouched for. */
  readonly dark = computed(() => this.lost.value || this.blind.value !== null);

  /** Take the link's news; a link that is lost must be told anew. */
  turn(link: Link): void {
    if (link.status !== "connected") this.told.value = false;
    this.link.value = link;
  }

  /** Take what a frame tells of the server's own sight. */
  look({ blind, gap, omitted, observed_until, observed_since }: View): void {
    this.blind.value = blind;
    this.gap.value = gap;
    this.omitted.value = omitted;
    this.observedUntil.value = observed_until;
    this.observedSince.value = observed_since;
    this.told.value = true;
  }
}

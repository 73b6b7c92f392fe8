/** What the page can see: the link to the server, the server's view of Redis, and since when both have been whole. */

import { computed, signal } from "@preact/signals";
import type { Link } from "../stream/link";
import type { Blind } from "../wire/message";

export class Sight {
  readonly link = signal<Link>({ status: "reconnecting", failures: 0, opened: 0 });
  readonly blind = signal<Blind | null>(null);
  /** Something was heard since the link came up. An open link alone vouches for nothing. */
  readonly heard = signal(false);
  /** Redis' time from which on nothing was missed: nobody's silence before it can be held against them. */
  readonly since = signal(Number.NEGATIVE_INFINITY);

  /** Nothing on the board can be vouched for. */
  readonly dark = computed(
    () => this.blind.value !== null || this.link.value.status !== "connected" || !this.heard.value,
  );

  /** Take the link's news; a link that is lost must be heard anew. */
  turn(link: Link): void {
    if (link.status !== "connected" || link.opened !== this.link.peek().opened) this.heard.value = false;
    this.link.value = link;
  }

  /** A frame told whether the server sees; `whole` when it told of everything too. */
  look(blind: Blind | null, now: number, whole: boolean): void {
    const wasDark = this.dark.peek();
    this.blind.value = blind;
    this.heard.value = true;
    if (wasDark && !this.dark.peek())
      this.since.value = whole && !this.wasBlind ? Number.NEGATIVE_INFINITY : now;
    this.wasBlind = blind !== null;
  }

  private wasBlind = false;
}

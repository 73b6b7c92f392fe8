/** How current the page is: its connection, the server's view of Redis, and what silence proves. */

import { computed, signal } from "@preact/signals";
import type { ConnectionState } from "../stream/connection";
import type { Blind, CoverageGap, Freshness } from "../wire/message";

export class FreshnessModel {
  readonly connection = signal<ConnectionState>({
    status: "reconnecting",
    failures: 0,
    opened: 0,
    fault: null,
  });
  readonly blind = signal<Blind | null>(null);
  /** The latest coverage gap. */
  readonly gap = signal<CoverageGap | null>(null);
  /** The number of instances that do not fit on the board. */
  readonly omitted = signal(0);
  /** Every heartbeat up to this time has arrived, by Redis' clock. It stops when frames stop. */
  readonly observedUntil = signal(0);
  /** The silence of an instance counts from this time on, by Redis' clock. */
  readonly observedSince = signal(0);
  /**
   * The server has reported its freshness on the current connection. An open connection alone
   * proves nothing.
   */
  readonly reported = signal(false);

  /** The page has no server that reports to it. */
  readonly disconnected = computed(
    () => this.connection.value.status !== "connected" || !this.reported.value,
  );
  /** No state on the board can be trusted: the page or the server is cut off. */
  readonly stale = computed(() => this.disconnected.value || this.blind.value !== null);

  /** Store the state of the connection. After a loss, the server must report again. */
  setConnection(connection: ConnectionState): void {
    if (connection.status !== "connected") this.reported.value = false;
    this.connection.value = connection;
  }

  /** Store the freshness that the server reports in a board or a ping. */
  update({ blind, gap, omitted, observed_until, observed_since }: Freshness): void {
    this.blind.value = blind;
    this.gap.value = gap;
    this.omitted.value = omitted;
    this.observedUntil.value = observed_until;
    this.observedSince.value = observed_since;
    this.reported.value = true;
  }
}

/** How the stream stands. */

export type LinkStatus = "connected" | "reconnecting" | "disconnected";

export interface Link {
  status: LinkStatus;
  /** Tries that failed since the last time the stream was open. */
  failures: number;
  /** How often the stream was open; 0: never yet. */
  opened: number;
}

/** How the stream stands. */

export type LinkStatus = "connected" | "reconnecting" | "disconnected";

/** Why the stream is not open: it ended, no answer came, the answer was no stream, it fell silent, it said goodbye, or there is no network. */
export type LinkFault = "ended" | "no-answer" | "refused" | "silent" | "bye" | "offline";

export interface Link {
  status: LinkStatus;
  /** Tries in a row that came to nothing. */
  failures: number;
  /** How often the stream was open; 0: never yet. */
  opened: number;
  /** Why it was lost last; null while nothing was. */
  fault: LinkFault | null;
}

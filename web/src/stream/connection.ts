/** The state of the connection to the server. */

export type ConnectionStatus = "connected" | "reconnecting" | "disconnected";

/**
 * Why the stream is not open. `ended`: the connection broke. `no-answer`: the server did not
 * respond. `refused`: the response was not a stream. `silent`: no frame arrived in time.
 * `bye`: the server announced its shutdown. `offline`: the device has no network.
 */
export type ConnectionFault = "ended" | "no-answer" | "refused" | "silent" | "bye" | "offline";

export interface ConnectionState {
  status: ConnectionStatus;
  /** The number of consecutive failed attempts. */
  failures: number;
  /** How many times the stream has opened since the page loaded. */
  opened: number;
  /** The latest fault; null before the first one. */
  fault: ConnectionFault | null;
}

/** The values that travel on `GET /api/stream`, by docs/reference/wire.md. */

import type { JsonObject } from "../lib/json";

/** The server cannot see Redis since then, so it vouches for nothing. */
export interface Blind {
  since: number;
  reason: string;
}

/** The latest known of one instance. `id` and `seen` are by Redis' clock, `timestamp` by the publisher's. */
export interface Instance {
  service: string;
  instance: string;
  timestamp: number;
  status: JsonObject;
  beat_s: number | null;
  goodbye: boolean;
  id: string;
  seen: number;
}

export interface BoardMessage {
  type: "board";
  now: number;
  blind: Blind | null;
  ping_s: number;
  version: string;
  insecure: boolean;
  expect: string[];
  instances: Instance[];
}

export interface StatusMessage {
  type: "status";
  instance: Instance;
}

export type Beat = [service: string, instance: string, seen: number];

export interface BeatsMessage {
  type: "beats";
  now: number;
  beats: Beat[];
}

export interface PingMessage {
  type: "ping";
  now: number;
  blind: Blind | null;
}

export interface ResetMessage {
  type: "reset";
  reason: string;
}

export interface ByeMessage {
  type: "bye";
  reason: string;
}

export type Message = BoardMessage | StatusMessage | BeatsMessage | PingMessage | ResetMessage | ByeMessage;

/** The events this reader knows; the others on the stream are not for it. */
export const EVENTS = [
  "board",
  "status",
  "beats",
  "ping",
  "reset",
  "bye",
] as const satisfies readonly Message["type"][];
export type EventName = (typeof EVENTS)[number];

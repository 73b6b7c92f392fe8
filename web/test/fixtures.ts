/** The golden fixtures of spec/, which the Python tests also read. */

import { readFileSync } from "node:fs";
import { resolve } from "node:path";
import { decode } from "../src/wire/decode";
import { EVENTS, type EventName, type Message } from "../src/wire/message";
import type { State } from "../src/wire/state";

function read(name: string): string {
  return readFileSync(resolve(__dirname, "../../spec/fixtures", name), "utf8");
}

export interface StateCase {
  name: string;
  blind: boolean;
  seen: number | null;
  observed_until: number;
  observed_since: number;
  heartbeat_s: number | null;
  stopped: boolean;
  back_in_s: number | null;
  lost: boolean;
  state: State;
}

export interface EventCase {
  name: string;
  channel: string;
  payload: string;
  valid: boolean;
  field?: string;
  server_only?: boolean;
}

export interface FrameCase {
  event: string;
  id: string;
  data: unknown;
  retry?: number;
  means: string;
  then: Record<string, State>;
}

export const stateCases = JSON.parse(read("state.json")) as StateCase[];
export const eventCases = JSON.parse(read("events.json")) as EventCase[];
export const frameCases = JSON.parse(read("stream.json")) as FrameCase[];
export const streamText = read("stream.txt");

export interface Frame {
  event: string;
  id: string;
  data: string;
  retry?: number;
}

/** Parse a stream by WHATWG HTML 9.2.6, limited to one data line per event and LF line ends. */
export function parseStream(text: string): Frame[] {
  return text
    .split("\n\n")
    .map((block) => block.split("\n").filter((line) => line !== "" && !line.startsWith(":")))
    .filter((lines) => lines.some((line) => line.startsWith("data:")))
    .map((lines) => {
      const get = (name: string) =>
        lines.find((line) => line.startsWith(`${name}: `))?.slice(name.length + 2);
      const retry = get("retry");
      const frame = {
        event: get("event") ?? "message",
        id: get("id") ?? "",
        data: get("data") ?? "",
      };
      return retry === undefined ? frame : { ...frame, retry: Number(retry) };
    });
}

/** Decode a frame; null for an event that the page ignores. */
export function messageOf(frame: { event: string; id: string; data: unknown }): Message | null {
  if (!(EVENTS as readonly string[]).includes(frame.event)) return null;
  const data = typeof frame.data === "string" ? frame.data : JSON.stringify(frame.data);
  return decode(frame.event as EventName, data, frame.id);
}

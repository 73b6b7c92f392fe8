/** A change that the eye should catch. */

import { useRef } from "preact/hooks";
import type { Json } from "../lib/json";

/** A value flashes when it changes after so long a rest. One that never rests would only flicker, and cost a paint each time. */
const REST_MS = 2500;

/** Two names for one animation, by turns: a change of name starts it anew. Undefined until the first change. */
export function useFlash(value: Json): "a" | "b" | undefined {
  const last = useRef({ value, at: Number.NEGATIVE_INFINITY });
  const flash = useRef<"a" | "b" | undefined>(undefined);
  if (last.current.value !== value) {
    const at = performance.now();
    if (at - last.current.at >= REST_MS) flash.current = flash.current === "a" ? "b" : "a";
    last.current = { value, at };
  }
  return flash.current;
}

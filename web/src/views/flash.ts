/** The flash that highlights a changed value. */

import { useRef } from "preact/hooks";
import type { Json } from "../lib/json";

/**
 * A value flashes if it was unchanged for at least this long. Flashes of a value that changes often
 * would only flicker and cost a paint each.
 */
const REST_MS = 2500;

/**
 * Return the name of the animation. Two names alternate, because a new name restarts the animation.
 * Undefined before the first change.
 */
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

/** JSON values and the little that is asked of them. */

export type Json = null | boolean | number | string | Json[] | JsonObject;
export type JsonObject = { [key: string]: Json };
export type Scalar = Exclude<Json, Json[] | JsonObject>;

/** Tell a plain JSON object from everything else. */
export function isObject(value: unknown): value is JsonObject {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

/** Tell what prints as one word from what has parts. */
export function isScalar(value: Json): value is Scalar {
  return typeof value !== "object" || value === null;
}

/** Compare two JSON values by what they say. Objects with their keys in another order count as different. */
export function isSame(a: Json | undefined, b: Json | undefined): boolean {
  if (a === b) return true;
  if (typeof a !== "object" || typeof b !== "object") return false;
  return JSON.stringify(a) === JSON.stringify(b);
}

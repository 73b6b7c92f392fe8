/** JSON values: types, type guards and comparison. */

export type Json = null | boolean | number | string | Json[] | JsonObject;
export type JsonObject = { [key: string]: Json };
export type Scalar = Exclude<Json, Json[] | JsonObject>;

/** Return whether a value is a JSON object. */
export function isObject(value: unknown): value is JsonObject {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

/** Return whether a value is neither an array nor an object. */
export function isScalar(value: Json): value is Scalar {
  return typeof value !== "object" || value === null;
}

/** Compare two JSON values by content. Objects with keys in another order count as different. */
export function isSame(a: Json | undefined, b: Json | undefined): boolean {
  if (a === b) return true;
  if (typeof a !== "object" || typeof b !== "object") return false;
  return JSON.stringify(a) === JSON.stringify(b);
}

/** One field of a status: its label and its value, which flashes when it changes. */

import { isErrorKey, labelOf, type Reading, readField } from "../lib/field";
import { humanise } from "../lib/format";
import type { Clock } from "../store/clock";
import type { Row } from "../store/fields";
import { useFlash } from "./flash";
import { LONG_TEXT, Value, WIDE_TEXT } from "./value";

export function Field({ row, clock }: { row: Row; clock: Clock }) {
  const value = row.value.value;
  const flash = useFlash(value);
  if (row.heading) {
    return (
      <div class="field field-heading" data-depth={row.depth} data-field={row.path}>
        <dt title={row.path}>{humanise(row.key)}</dt>
        <dd class="sr-only" data-value />
      </div>
    );
  }
  const reading = readField(row.key, value);
  return (
    <div
      class="field"
      data-depth={row.depth}
      data-field={row.path}
      data-wide={isWide(reading)}
      data-error={isErrorKey(row.key) && reading.kind !== "nothing" && value !== false && value !== 0}
    >
      <dt title={row.path}>{labelOf(row.key, reading)}</dt>
      <dd>
        <span class="value" data-value data-flash={reading.kind === "time" ? undefined : flash}>
          <Value reading={reading} clock={clock} />
        </span>
      </dd>
    </div>
  );
}

function isWide(reading: Reading): boolean {
  if (reading.kind === "text") return reading.error || reading.text.length > WIDE_TEXT;
  if (reading.kind === "list") return reading.items.join("  ").length > WIDE_TEXT;
  return reading.kind === "tree" && reading.text.length > LONG_TEXT;
}

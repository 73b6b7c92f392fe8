/** One field of a status: its label and its value, which flashes on a change. */

import { classifyField, type DisplayValue, isErrorKey, labelOf } from "../lib/field";
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
  const display = classifyField(row.key, value);
  return (
    <div
      class="field"
      data-depth={row.depth}
      data-field={row.path}
      data-wide={isWide(display)}
      data-error={isErrorKey(row.key) && display.kind !== "empty" && value !== false && value !== 0}
    >
      <dt title={row.path}>{labelOf(row.key, display)}</dt>
      <dd>
        <span class="value" data-value data-flash={display.kind === "time" ? undefined : flash}>
          <Value display={display} clock={clock} />
        </span>
      </dd>
    </div>
  );
}

function isWide(display: DisplayValue): boolean {
  if (display.kind === "text") return display.error || display.text.length > WIDE_TEXT;
  if (display.kind === "list") return display.items.join("  ").length > WIDE_TEXT;
  return display.kind === "tree" && display.text.length > LONG_TEXT;
}

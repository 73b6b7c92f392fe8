/** One value of a status in its display form. */

import { useState } from "preact/hooks";
import type { DisplayValue } from "../lib/field";
import { formatNumber } from "../lib/format";
import type { Scalar } from "../lib/json";
import type { Clock } from "../store/clock";
import { Age } from "./age";

/** A text longer than this is clamped to a few lines until it is expanded. */
export const LONG_TEXT = 160;
/** A text longer than this is below its label, in the full width. */
export const WIDE_TEXT = 22;
const FEW_ITEMS = 8;

export function Value({ display, clock }: { display: DisplayValue; clock: Clock }) {
  switch (display.kind) {
    case "empty":
      return (
        <span class="nothing">
          <span aria-hidden="true">—</span>
          <span class="sr-only">nothing</span>
        </span>
      );
    case "flag":
      return <Flag on={display.on} />;
    case "number":
      return <span title={display.title}>{display.text}</span>;
    case "time":
      return <Age at={display.at} clock={clock} ahead />;
    case "text":
      return <Text text={display.text} />;
    case "list":
      return <List items={display.items} />;
    case "tree":
      return display.text.length <= 2 ? (
        <span class="nothing">empty</span>
      ) : (
        <details class="tree">
          <summary>{display.summary}</summary>
          <pre>{display.text}</pre>
        </details>
      );
  }
}

function Flag({ on }: { on: boolean }) {
  return (
    <span class="flag" data-on={on}>
      <svg viewBox="0 0 10 10" aria-hidden="true">
        <path
          d={on ? "M1.5 5.5l2.5 2.5 4.5-6" : "M2 5h6"}
          fill="none"
          stroke="currentColor"
          stroke-width="1.6"
        />
      </svg>
      {on ? "yes" : "no"}
    </span>
  );
}

function Text({ text }: { text: string }) {
  const [open, setOpen] = useState(false);
  if (text.length <= LONG_TEXT) return <bdi>{text}</bdi>;
  return (
    <>
      <bdi class={open ? "long" : "long clamped"}>{text}</bdi>
      <button type="button" class="more" aria-expanded={open} onClick={() => setOpen(!open)}>
        {open ? "less" : "more"}
      </button>
    </>
  );
}

function List({ items }: { items: Scalar[] }) {
  const [open, setOpen] = useState(false);
  if (items.length === 0) return <span class="nothing">none</span>;
  const shown = open ? items : items.slice(0, FEW_ITEMS);
  const hidden = items.length - shown.length;
  return (
    <span class="chips">
      {shown.map((item, i) => (
        <bdi class="chip" key={i}>
          {typeof item === "number" ? formatNumber(item) : String(item ?? "—")}
        </bdi>
      ))}
      {(hidden > 0 || open) && items.length > FEW_ITEMS && (
        <button type="button" class="more" aria-expanded={open} onClick={() => setOpen(!open)}>
          {open ? "fewer" : `+${formatNumber(hidden)} more`}
        </button>
      )}
    </span>
  );
}

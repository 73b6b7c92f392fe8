/** One value of a status, in the shape that reads best. */

import { useState } from "preact/hooks";
import type { Reading } from "../lib/field";
import { formatNumber } from "../lib/format";
import type { Scalar } from "../lib/json";
import type { Clock } from "../store/clock";
import { Age } from "./age";

/** Texts longer than this are clamped to a few lines until asked for. */
export const LONG_TEXT = 160;
/** Texts longer than this stand below their label, in the full width. */
export const WIDE_TEXT = 22;
const FEW_ITEMS = 8;

export function Value({ reading, clock }: { reading: Reading; clock: Clock }) {
  switch (reading.kind) {
    case "nothing":
      return (
        <span class="nothing">
          <span aria-hidden="true">—</span>
          <span class="sr-only">nothing</span>
        </span>
      );
    case "flag":
      return <Flag on={reading.on} />;
    case "number":
      return <span title={reading.title}>{reading.text}</span>;
    case "time":
      return <Age at={reading.at} clock={clock} ahead />;
    case "text":
      return <Text text={reading.text} />;
    case "list":
      return <List items={reading.items} />;
    case "tree":
      return reading.text.length <= 2 ? (
        <span class="nothing">empty</span>
      ) : (
        <details class="tree">
          <summary>{reading.summary}</summary>
          <pre>{reading.text}</pre>
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

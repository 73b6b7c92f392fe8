/** The number of instances per state, as buttons that filter by state, and the search field. */

import { useComputed } from "@preact/signals";
import { useLayoutEffect, useRef } from "preact/hooks";
import { MAX_RECENT_INCIDENTS } from "../store/recent-incidents";
import type { Store } from "../store/store";
import { Glyph } from "./glyph";
import { PANEL_BUTTON_ID, PANEL_ID } from "./incidents";
import { MEANINGS, ORDER, WORDS } from "./words";

/** With fewer instances the page hides the search field, because all of them are in view. */
const MIN_INSTANCES_FOR_SEARCH = 6;
/** The count includes incidents of this period only. The panel lists older ones, too. */
const COUNTED_MS = 24 * 3_600_000;

export function Summary({ store }: { store: Store }) {
  const { board, filter } = store;
  const counts = board.counts.value;
  const selected = filter.states.value;
  const states = ORDER.filter(
    (state) => counts[state] > 0 || selected.has(state) || state === "alive",
  );
  const total = ORDER.reduce((sum, state) => sum + counts[state], 0);
  return (
    <section class="summary" aria-label="Summary and filters">
      <ul class="tallies">
        {states.map((state) => (
          <li key={state}>
            <button
              type="button"
              class="tally"
              data-state={state}
              data-zero={counts[state] === 0}
              aria-pressed={selected.has(state)}
              title={MEANINGS[state]}
              onClick={() => filter.toggle(state)}
            >
              <Glyph state={state} />
              <span class="tally-count">{counts[state]}</span>
              <span class="tally-word">{WORDS[state].toLowerCase()}</span>
            </button>
          </li>
        ))}
        <IncidentTally store={store} />
        {filter.active.value && (
          <li>
            <button type="button" class="tally tally-clear" onClick={() => filter.clear()}>
              show all
            </button>
          </li>
        )}
      </ul>
      {(total >= MIN_INSTANCES_FOR_SEARCH || filter.query.value !== "") && <Search store={store} />}
    </section>
  );
}

/** The number of incidents in the last day. It opens the panel of incidents. */
function IncidentTally({ store: { board, incidents } }: { store: Store }) {
  const { latest } = board.recentIncidents;
  const recent = useComputed(
    () =>
      latest.value.filter(({ declared }) => board.clock.now.value - declared <= COUNTED_MS).length,
  ).value;
  const open = incidents.open.value;
  if (latest.value.length === 0 && !open) return null;
  return (
    <li class="tally-apart">
      <button
        type="button"
        class="tally"
        id={PANEL_BUTTON_ID}
        data-testid="incident-tally"
        data-zero={recent === 0}
        aria-expanded={open}
        aria-controls={PANEL_ID}
        title="Instances lost in the last 24 hours"
        onClick={() => incidents.toggle()}
      >
        <span class="tally-count">
          {recent}
          {recent >= MAX_RECENT_INCIDENTS && "+"}
        </span>
        <span class="tally-word">{recent === 1 ? "incident" : "incidents"}</span>
        <svg class="tally-arrow" viewBox="0 0 10 10" aria-hidden="true">
          <path d="M2 3.5l3 3 3-3" fill="none" stroke="currentColor" stroke-width="1.5" />
        </svg>
      </button>
    </li>
  );
}

function Search({ store: { filter } }: { store: Store }) {
  const input = useRef<HTMLInputElement>(null);
  // A layout effect runs before the first paint: the key works as soon as the field is visible.
  useLayoutEffect(() => {
    const focus = (event: KeyboardEvent) => {
      if (event.key !== "/" || event.ctrlKey || event.metaKey || event.altKey) return;
      if (
        event.target instanceof Element &&
        event.target.closest("input, textarea, select, [contenteditable]")
      )
        return;
      event.preventDefault();
      input.current?.focus();
    };
    window.addEventListener("keydown", focus);
    return () => window.removeEventListener("keydown", focus);
  }, []);
  return (
    <search class="search">
      <input
        ref={input}
        type="search"
        placeholder="Find a service"
        aria-label="Find a service"
        aria-keyshortcuts="/"
        value={filter.query.value}
        onInput={(event) => filter.search(event.currentTarget.value)}
        onKeyDown={(event) => {
          if (event.key !== "Escape") return;
          filter.search("");
          event.currentTarget.blur();
        }}
      />
      <kbd>/</kbd>
    </search>
  );
}

/** How many are in which state; each count is also a filter. And the search. */

import { useComputed } from "@preact/signals";
import { useLayoutEffect, useRef } from "preact/hooks";
import { MAX_LOSSES } from "../store/losses";
import type { Store } from "../store/store";
import { Glyph } from "./glyph";
import { PANEL_BUTTON_ID, PANEL_ID } from "./incidents";
import { MEANINGS, ORDER, WORDS } from "./words";

/** With fewer instances than this everything is in view anyway. */
const SEARCH_FROM = 6;
/** Older incidents can be read, but are no news. */
const NEWS_MS = 24 * 3_600_000;

export function Summary({ store }: { store: Store }) {
  const { board, filter } = store;
  const counts = board.counts.value;
  const chosen = filter.states.value;
  const states = ORDER.filter((state) => counts[state] > 0 || chosen.has(state) || state === "alive");
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
              aria-pressed={chosen.has(state)}
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
      {(total >= SEARCH_FROM || filter.query.value !== "") && <Search store={store} />}
    </section>
  );
}

/** How many were lost in the last day; it opens the panel that tells of them. */
function IncidentTally({ store: { board, incidents } }: { store: Store }) {
  const { latest } = board.losses;
  const recent = useComputed(
    () => latest.value.filter(({ declared }) => board.clock.now.value - declared <= NEWS_MS).length,
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
          {recent >= MAX_LOSSES && "+"}
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
  // Before the first paint: whoever sees the field may press the key.
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

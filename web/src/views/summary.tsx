/** How many are in which state; each count is also a filter. And the search. */

import { useEffect, useRef } from "preact/hooks";
import type { Store } from "../store/store";
import { Glyph } from "./glyph";
import { MEANINGS, ORDER, WORDS } from "./words";

/** With fewer instances than this everything is in view anyway. */
const SEARCH_FROM = 6;
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

function Search({ store: { filter } }: { store: Store }) {
  const input = useRef<HTMLInputElement>(null);
  useEffect(() => {
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

/** The placeholder that the page shows until it receives the first board. */

import type { Store } from "../store/store";

const CARDS = [0, 1, 2];
const ROWS = [0, 1, 2, 3, 4, 5];

export function Loading({ store }: { store: Store }) {
  const hasFailed = store.board.freshness.connection.value.failures > 0;
  return (
    <div data-testid="loading" aria-busy="true">
      <p class="loading-note">
        {hasFailed
          ? "The server has not responded yet. The page continues to try."
          : "Waiting for the board …"}
      </p>
      <div class="grid" data-count={CARDS.length} aria-hidden="true">
        {CARDS.map((card) => (
          <div class="card skeleton" key={card}>
            <i class="skeleton-bar skeleton-title" />
            {ROWS.map((row) => (
              <div class="skeleton-row" key={row}>
                <i class="skeleton-bar" />
                <i class="skeleton-bar" />
              </div>
            ))}
          </div>
        ))}
      </div>
    </div>
  );
}

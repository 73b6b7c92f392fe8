/** Before the first board has come. */

import type { Store } from "../store/store";

const ROWS = [0, 1, 2, 3, 4];

export function Loading({ store }: { store: Store }) {
  const failed = store.board.sight.link.value.failures > 0;
  return (
    <div data-testid="loading" aria-busy="true">
      <p class={failed ? "loading-note" : "sr-only"}>
        {failed
          ? "The server does not answer yet. The page goes on trying by itself."
          : "Waiting for the board"}
      </p>
      <div class="grid" data-count={3} aria-hidden="true">
        {[0, 1, 2].map((card) => (
          <div class="card skeleton" key={card}>
            <i class="bone bone-title" />
            {ROWS.map((row) => (
              <i class="bone" key={row} />
            ))}
          </div>
        ))}
      </div>
    </div>
  );
}

/** All services: what is in trouble and what runs once side by side, then what runs several times. */

import { arrange } from "../store/arrange";
import type { Store } from "../store/store";
import { Group, Single } from "./service";

/** So few cards share the width of the screen. */
const FEW = 3;

export function Services({ store }: { store: Store }) {
  const { board, filter } = store;
  const active = filter.active.value;
  const instances = board.instances.value;
  const { cells, groups } = arrange(
    active ? instances.filter((model) => filter.passes(model)) : instances,
    board.lead.keys.value,
  );
  if (cells.length + groups.length === 0) {
    return (
      <div class="notice notice-short" data-testid="nothing-matches">
        <h2>Nothing matches</h2>
        <p>None of {instances.length} instances is in what you chose.</p>
        <button type="button" class="button" onClick={() => filter.clear()}>
          Show all
        </button>
      </div>
    );
  }
  return (
    <>
      {cells.length > 0 && (
        <div class="grid" data-count={active || cells.length > FEW ? "many" : cells.length}>
          {cells.map((view) => (
            <Single key={view.shown[0]?.key} view={view} clock={board.clock} unfold={active} />
          ))}
        </div>
      )}
      {groups
        .filter((view) => view.shown.length + view.folded.length > 0)
        .map((view) => (
          <Group key={view.service} view={view} clock={board.clock} unfold={active} />
        ))}
    </>
  );
}

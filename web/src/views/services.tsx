/** All services: first the cells with one card each (pinned cells first), then the groups. */

import { arrange } from "../store/arrange";
import type { Store } from "../store/store";
import { Group, Single } from "./service";

/** Up to this many cards share the width of the screen. */
const MAX_WIDE_CARDS = 3;

export function Services({ store }: { store: Store }) {
  const { board, filter } = store;
  const active = filter.active.value;
  const instances = board.instances.value;
  const { cells, groups } = arrange(
    active ? instances.filter((model) => filter.passes(model)) : instances,
    board.pinned.keys.value,
  );
  if (cells.length + groups.length === 0) {
    return (
      <div class="notice notice-short" data-testid="nothing-matches">
        <h2>Nothing matches</h2>
        <p>None of the {instances.length} instances matches the filter.</p>
        <button type="button" class="button" onClick={() => filter.clear()}>
          Show all
        </button>
      </div>
    );
  }
  return (
    <>
      {cells.length > 0 && (
        <div
          class="grid"
          data-count={active || cells.length > MAX_WIDE_CARDS ? "many" : cells.length}
        >
          {cells.map((view) => (
            <Single key={view.shown[0]?.key} view={view} clock={board.clock} expand={active} />
          ))}
        </div>
      )}
      {groups
        .filter((view) => view.shown.length + view.collapsed.length > 0)
        .map((view) => (
          <Group key={view.service} view={view} clock={board.clock} expand={active} />
        ))}
    </>
  );
}

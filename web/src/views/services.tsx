/** All services, the single ones side by side, then the groups. */

import { arrange } from "../store/arrange";
import type { Store } from "../store/store";
import { Group, Single } from "./service";

export function Services({ store }: { store: Store }) {
  const { board, filter } = store;
  const active = filter.active.value;
  const instances = board.instances.value;
  const views = arrange(active ? instances.filter((model) => filter.passes(model)) : instances);
  const singles = views.filter((view) => view.shown.length === 1);
  const groups = views.filter((view) => view.shown.length > 1);
  if (views.length === 0) {
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
      {singles.length > 0 && (
        <div class="grid" data-count={active || singles.length > 3 ? "many" : singles.length}>
          {singles.map((view) => (
            <Single key={view.service} view={view} clock={board.clock} unfold={active} />
          ))}
        </div>
      )}
      {groups.map((view) => (
        <Group key={view.service} view={view} clock={board.clock} unfold={active} />
      ))}
    </>
  );
}

/** All services: what is in trouble, then the single ones side by side, then the groups. */

import { arrange, type ServiceView } from "../store/arrange";
import type { Store } from "../store/store";
import { Group, Single } from "./service";

/** So few stand in view together, and better where everybody knows them to be. */
const FITS = 3;

export function Services({ store }: { store: Store }) {
  const { board, filter } = store;
  const active = filter.active.value;
  const instances = board.instances.value;
  const leading = instances.length > FITS ? board.lead.keys.value : undefined;
  const { first, rest } = arrange(
    active ? instances.filter((model) => filter.passes(model)) : instances,
    leading,
  );
  const singles = rest.filter((view) => !view.group);
  const groups = rest.filter((view) => view.group && view.shown.length + view.folded.length > 0);
  if (first.length + rest.length === 0) {
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
  const grid = (views: readonly ServiceView[]) => (
    <div class="grid" data-count={active || instances.length > FITS ? "many" : views.length}>
      {views.map((view) => (
        <Single key={view.shown[0]?.key} view={view} clock={board.clock} unfold={active} />
      ))}
    </div>
  );
  return (
    <>
      {first.length > 0 && (
        <section class="first" aria-label="In trouble" data-testid="trouble">
          {grid(first)}
        </section>
      )}
      {singles.length > 0 && grid(singles)}
      {groups.map((view) => (
        <Group key={view.service} view={view} clock={board.clock} unfold={active} />
      ))}
    </>
  );
}

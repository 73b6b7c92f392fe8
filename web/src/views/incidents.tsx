/** The panel of recent incidents, latest first. Each opens to its last words. */

import { useComputed } from "@preact/signals";
import { useEffect, useRef } from "preact/hooks";
import { formatClockTime, formatFullTime } from "../lib/format";
import { outcomeOf } from "../store/incidents";
import type { Store } from "../store/store";
import type { Incident } from "../wire/message";
import { Age } from "./age";
import { Glyph } from "./glyph";
import { LastWords } from "./last-words";
import { OUTCOMES } from "./words";

export const PANEL_ID = "incidents";
/** The element that gets the keyboard focus when the panel closes. */
export const PANEL_BUTTON_ID = "incidents-button";

export function Incidents({ store }: { store: Store }) {
  const { board, incidents } = store;
  const panel = useRef<HTMLElement>(null);
  const open = incidents.open.value;
  useEffect(() => {
    if (open) panel.current?.focus({ preventScroll: true });
  }, [open]);
  if (!open) return null;
  const lastWords = incidents.lastWords.value;
  const latest = board.recentIncidents.latest.value;
  // If the URL names an older incident, it is shown below the latest ones.
  const older =
    lastWords?.kind === "loaded" && !latest.some(({ id }) => id === lastWords.incident.id);
  const shown = older ? [...latest, lastWords.incident] : latest;
  return (
    <section
      class="incidents"
      id={PANEL_ID}
      ref={panel}
      tabIndex={-1}
      aria-label="Incidents"
      data-testid="incidents"
      onKeyDown={(event) => {
        if (event.key !== "Escape") return;
        incidents.toggle();
        document.getElementById(PANEL_BUTTON_ID)?.focus();
      }}
    >
      {shown.length === 0 ? (
        <p class="incidents-none">No incident in the retained history.</p>
      ) : (
        <ul>
          {shown.map((incident) => (
            <Row key={incident.id} incident={incident} store={store} />
          ))}
        </ul>
      )}
    </section>
  );
}

const GLYPHS = { lost: "lost", returned: "alive", gone: "stopped", unknown: "unknown" } as const;

function Row({ incident, store }: { incident: Incident; store: Store }) {
  const { board, incidents } = store;
  const { id, service, instance, declared } = incident;
  const outcome = useComputed(() => outcomeOf(incident, board)).value;
  const open = incidents.selected.value === id;
  return (
    <li class="incident" data-testid="incident" data-service={service} data-outcome={outcome}>
      <button
        type="button"
        class="incident-head"
        aria-expanded={open}
        onClick={() => incidents.toggleIncident(id)}
      >
        <time class="incident-time" title={formatFullTime(declared)}>
          {formatClockTime(declared)}
        </time>
        <span class="incident-name">
          <bdi class="incident-service">{service}</bdi>{" "}
          <bdi class="incident-instance">{instance}</bdi>
        </span>
        <span class="incident-cause">{causeOf(incident)}</span>
        <span class="incident-age">
          <Age at={declared} clock={board.clock} />
        </span>
        <span class="incident-outcome" data-state={GLYPHS[outcome]}>
          <Glyph state={GLYPHS[outcome]} />
          {OUTCOMES[outcome]}
        </span>
      </button>
      {open && <LastWords store={store} />}
    </li>
  );
}

function causeOf({ cause, seen }: Incident): string {
  if (cause === "overdue") return `missed its return, stopped at ${formatClockTime(seen)}`;
  return cause === "silent" ? `no heartbeat since ${formatClockTime(seen)}` : cause;
}

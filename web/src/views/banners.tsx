/** What everybody who looks at this board has to know before believing it. */

import { useComputed } from "@preact/signals";
import { formatClockTime, formatFullTime } from "../lib/format";
import type { Store } from "../store/store";
import { Age } from "./age";
import { FAULTS } from "./words";

/** A connection that is back sooner than this was hardly away: the states say so, and nothing moves. */
const BRIEF_MS = 2000;

/** The page lost its server. It sticks to the top, as the next does: nothing below may be read without it. */
export function LostBanner({ store }: { store: Store }) {
  const { clock, facts, sight } = store.board;
  const since = store.life.value;
  const late = useComputed(
    () => store.life.value !== null && clock.now.value - store.life.value >= BRIEF_MS,
  ).value;
  if (facts.value === null || since === null || !sight.lost.value || !late) return null;
  const { fault } = sight.link.value;
  return (
    <div class="banner banner-lost" data-testid="banner-lost">
      <span role="alert">
        <strong>This page has lost its server.</strong> What is shown is the last known, of{" "}
        <time title={formatFullTime(since)}>{formatClockTime(since)}</time>.
      </span>{" "}
      <span class="banner-more">
        <Age at={since} clock={clock} />
        {fault !== null && ` · ${FAULTS[fault]}`}
      </span>
    </div>
  );
}

/** The server lost Redis. What it said of that is past once the page has lost the server. */
export function BlindBanner({ store }: { store: Store }) {
  const { blind: seen, lost } = store.board.sight;
  const blind = seen.value;
  if (blind === null || lost.value) return null;
  return (
    <div class="banner banner-blind" role="alert" data-testid="banner-blind">
      <strong>This board cannot see.</strong> The server cannot reach Redis since{" "}
      <time title={formatFullTime(blind.since)}>{formatClockTime(blind.since)}</time>; what is shown is the
      last known.
      {blind.reason !== "" && <span class="banner-reason">{blind.reason}</span>}
    </div>
  );
}

export function InsecureBanner({ store }: { store: Store }) {
  if (!store.board.facts.value?.insecure) return null;
  return (
    <div class="banner banner-insecure" role="note" data-testid="banner-insecure">
      <strong>Open board.</strong> Anyone who can reach this address can see it, without a login.
    </div>
  );
}

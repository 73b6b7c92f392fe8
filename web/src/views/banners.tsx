/** What everybody who looks at this board has to know before believing it. */

import { useComputed } from "@preact/signals";
import { formatClockTime, formatFullTime } from "../lib/format";
import type { Store } from "../store/store";
import { Age } from "./age";
import { countOf, FAULTS } from "./words";

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
    <div class="banner banner-note" role="note" data-testid="banner-insecure">
      <strong>Open board.</strong> Anyone who can reach this address can see it, without a login.
    </div>
  );
}

/** Calm as well, and there as long as it holds: what is shown is right, but it is not all. */
export function FullNote({ store }: { store: Store }) {
  const { facts, sight } = store.board;
  const n = sight.omitted.value;
  if (n === 0 || facts.value === null || sight.dark.value) return null;
  return (
    <div class="banner banner-note" role="status" data-testid="banner-full">
      This board is <strong>full</strong>: {countOf(n, "more instance")} said something in the last hour and{" "}
      {n === 1 ? "is" : "are"} not on it.
    </div>
  );
}

/** Calm, for most of the board is not concerned; and for whoever is, there is nothing to do but know it. */
export function DeafNote({ store: { deafness } }: { store: Store }) {
  const deaf = deafness.told.value;
  if (deaf === null) return null;
  return (
    <div class="banner banner-note banner-deaf" role="status" data-testid="banner-deaf">
      <span>
        {deaf.until === null ? (
          <>
            Plain publishes are <strong>not heard</strong> by this board since <Moment at={deaf.since} />, and
            may be missing.
          </>
        ) : (
          <>
            Plain publishes between <Moment at={deaf.since} /> and <Moment at={wholeSecond(deaf.until)} />{" "}
            were <strong>not heard</strong> by this board and may be missing.
          </>
        )}{" "}
        Services that use the SDK are not concerned.
      </span>
      <button type="button" class="banner-dismiss" onClick={() => deafness.dismiss()}>
        Dismiss
      </button>
    </div>
  );
}

function Moment({ at }: { at: number }) {
  return <time title={formatFullTime(at)}>{formatClockTime(at)}</time>;
}

/** Times read in whole seconds, and the last is one of those concerned. */
function wholeSecond(at: number): number {
  return Math.ceil(at / 1000) * 1000;
}

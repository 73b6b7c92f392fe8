/** Banners and notes about the whole board: cut off, open, full, or with a coverage gap. */

import { useComputed } from "@preact/signals";
import { formatClockTime, formatFullTime } from "../lib/format";
import type { Store } from "../store/store";
import { Age } from "./age";
import { countOf, FAULTS } from "./words";

/** A shorter interruption shows no banner, so that the page does not move. The states show it. */
const BRIEF_MS = 2000;

/** The page has no server. This banner and the next stay at the top while the page scrolls. */
export function DisconnectedBanner({ store }: { store: Store }) {
  const { clock, facts, freshness } = store.board;
  const since = store.lastFrameAt.value;
  const lasts = useComputed(() => {
    const at = store.lastFrameAt.value;
    return at !== null && clock.now.value - at >= BRIEF_MS;
  }).value;
  if (facts.value === null || since === null || !freshness.disconnected.value || !lasts)
    return null;
  const { fault } = freshness.connection.value;
  return (
    <div class="banner banner-disconnected" data-testid="banner-disconnected">
      <span role="alert">
        <strong>The connection to the server is lost.</strong> The page shows data from{" "}
        <Moment at={since} /> and reconnects.
      </span>{" "}
      <span class="banner-more">
        <Age at={since} clock={clock} />
        {fault !== null && ` · ${FAULTS[fault]}`}
      </span>
    </div>
  );
}

/** The server has lost Redis. Hidden while the page is disconnected: it is outdated then. */
export function BlindBanner({ store }: { store: Store }) {
  const { blind: reported, disconnected } = store.board.freshness;
  const blind = reported.value;
  if (blind === null || disconnected.value) return null;
  return (
    <div class="banner banner-blind" role="alert" data-testid="banner-blind">
      <strong>The server cannot reach Redis</strong> since <Moment at={blind.since} />. The board
      shows the last known data.
      {blind.reason !== "" && <span class="banner-reason">{blind.reason}</span>}
    </div>
  );
}

export function InsecureBanner({ store }: { store: Store }) {
  if (!store.board.facts.value?.insecure) return null;
  return (
    <div class="banner banner-note" role="note" data-testid="banner-insecure">
      <strong>Open board.</strong> Anyone who can reach this address can see it without a login.
    </div>
  );
}

/** The board is full. A note and no alert, because the states that it shows are correct. */
export function FullNote({ store }: { store: Store }) {
  const { facts, freshness } = store.board;
  const n = freshness.omitted.value;
  if (n === 0 || facts.value === null || freshness.stale.value) return null;
  return (
    <div class="banner banner-note" role="status" data-testid="banner-full">
      This board is <strong>full</strong>: it omits {countOf(n, "more instance")} that published in
      the last hour.
    </div>
  );
}

/** A coverage gap. A note and no alert, because most services are not affected. */
export function CoverageGapNote({ store: { coverageGap } }: { store: Store }) {
  const gap = coverageGap.visible.value;
  if (gap === null) return null;
  return (
    <div class="banner banner-note banner-gap" role="status" data-testid="banner-gap">
      <span>
        {gap.until === null ? (
          <>
            External messages since <Moment at={gap.since} /> <strong>may be missing</strong>: no
            server is subscribed.
          </>
        ) : (
          <>
            External messages between <Moment at={gap.since} /> and{" "}
            <Moment at={nextSecond(gap.until)} /> <strong>may be missing</strong>: no server was
            subscribed.
          </>
        )}{" "}
        Services that use the SDK are not affected.
      </span>
      <button type="button" class="banner-dismiss" onClick={() => coverageGap.dismiss()}>
        Dismiss
      </button>
    </div>
  );
}

function Moment({ at }: { at: number }) {
  return <time title={formatFullTime(at)}>{formatClockTime(at)}</time>;
}

/** Round up to a whole second: times are shown in seconds, and the last one is affected. */
function nextSecond(at: number): number {
  return Math.ceil(at / 1000) * 1000;
}

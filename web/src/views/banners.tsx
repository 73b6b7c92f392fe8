/** What everybody who looks at this board has to know before believing it. */

import { formatClockTime, formatFullTime } from "../lib/format";
import type { Store } from "../store/store";

/** The server lost Redis. It sticks to the top: nothing below it may be read without it. */
export function BlindBanner({ store }: { store: Store }) {
  const blind = store.board.sight.blind.value;
  if (blind === null) return null;
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

/** The page: header with connection and banners, the board, and the footer. */

import type { Store } from "../store/store";
import {
  BlindBanner,
  CoverageGapNote,
  DisconnectedBanner,
  FullNote,
  InsecureBanner,
} from "./banners";
import { Connection } from "./connection";
import { Empty } from "./empty";
import { Incidents } from "./incidents";
import { Loading } from "./loading";
import { Logo } from "./logo";
import { Services } from "./services";
import { Summary } from "./summary";
import { ThemeSwitch } from "./theme";
import { countOf } from "./words";

export function App({ store }: { store: Store }) {
  return (
    <>
      <header class="top">
        <div class="bar">
          <a class="brand" href="services" aria-label="Pulseboard">
            <Logo />
            <span class="wordmark">Pulseboard</span>
          </a>
          <h1>Background Services Monitor</h1>
          <Connection store={store} />
          <ThemeSwitch choice={store.theme} />
        </div>
        <DisconnectedBanner store={store} />
        <BlindBanner store={store} />
      </header>
      <InsecureBanner store={store} />
      <CoverageGapNote store={store} />
      <FullNote store={store} />
      <Main store={store} />
      <Foot store={store} />
    </>
  );
}

/** The board. It is grey while it is stale, so that old data is recognisable from a distance. */
function Main({ store }: { store: Store }) {
  const stale = store.board.facts.value !== null && store.board.freshness.stale.value;
  return (
    <main data-stale={stale}>
      <Content store={store} />
    </main>
  );
}

function Content({ store }: { store: Store }) {
  if (store.board.facts.value === null) return <Loading store={store} />;
  if (store.board.instances.value.length === 0) return <Empty />;
  return (
    <>
      <Summary store={store} />
      <Incidents store={store} />
      <Services store={store} />
    </>
  );
}

function Foot({ store: { board } }: { store: Store }) {
  const facts = board.facts.value;
  if (facts === null) return null;
  const instances = board.instances.value;
  const services = new Set(instances.map((model) => model.service)).size;
  const dropped = board.dropped.value;
  const skipped = board.skipped.value;
  return (
    <footer class="foot">
      <span>Pulseboard {facts.version}</span>
      <span>
        {countOf(services, "service")}, {countOf(instances.length, "instance")}
      </span>
      {dropped > 0 && <span>{countOf(dropped, "malformed frame")} dropped</span>}
      {skipped > 0 && (
        <span
          data-testid="skipped"
          title="The board is current; only intermediate updates were skipped."
        >
          skipped {countOf(skipped, "update")}: this page was too slow
        </span>
      )}
    </footer>
  );
}

/** The page: who we are and whether we hear, what to know first, and the board. */

import type { Store } from "../store/store";
import { BlindBanner, DeafNote, FullNote, InsecureBanner, LostBanner } from "./banners";
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
        <LostBanner store={store} />
        <BlindBanner store={store} />
      </header>
      <InsecureBanner store={store} />
      <DeafNote store={store} />
      <FullNote store={store} />
      <Main store={store} />
      <Foot store={store} />
    </>
  );
}

/** Grey while nothing can be vouched for: from across the room, too, it must not pass for the present. */
function Main({ store }: { store: Store }) {
  const stale = store.board.facts.value !== null && store.board.sight.dark.value;
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
      {dropped > 0 && <span>{countOf(dropped, "frame")} could not be read</span>}
      {skipped > 0 && (
        <span data-testid="skipped" title="The latest of everything is shown; only what lay between was not.">
          skipped {countOf(skipped, "update")} while this page was too slow
        </span>
      )}
    </footer>
  );
}

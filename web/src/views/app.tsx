/** The page: who we are and whether we hear, what to know first, and the board. */

import type { Store } from "../store/store";
import { BlindBanner, InsecureBanner } from "./banners";
import { Connection } from "./connection";
import { Empty } from "./empty";
import { Loading } from "./loading";
import { Logo } from "./logo";
import { Services } from "./services";
import { Summary } from "./summary";
import { ThemeSwitch } from "./theme";

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
        <BlindBanner store={store} />
      </header>
      <InsecureBanner store={store} />
      <main>
        <Content store={store} />
      </main>
      <Foot store={store} />
    </>
  );
}

function Content({ store }: { store: Store }) {
  if (store.board.facts.value === null) return <Loading store={store} />;
  if (store.board.instances.value.length === 0) return <Empty />;
  return (
    <>
      <Summary store={store} />
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
  return (
    <footer class="foot">
      <span>Pulseboard {facts.version}</span>
      <span>
        {count(services, "service")}, {count(instances.length, "instance")}
      </span>
      {dropped > 0 && <span>{count(dropped, "frame")} could not be read</span>}
    </footer>
  );
}

function count(n: number, noun: string): string {
  return `${n} ${noun}${n === 1 ? "" : "s"}`;
}

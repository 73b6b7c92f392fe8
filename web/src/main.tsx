import { render } from "preact";
import { Store } from "./store/store";
import { App } from "./views/app";
import "./views/tokens.css";
import "./views/page.css";
import "./views/card.css";
import "./views/incidents.css";

const root = document.getElementById("app");
if (root) {
  const store = new Store("api/stream");
  store.start();
  render(<App store={store} />, root);
}

// The dashboard: which page an address shows, below the bar that all have.
import { render } from "preact";
import { useEffect, useErrorBoundary, useState } from "preact/hooks";
import { html } from "./html.js";
import { Catalog } from "./pages/catalog.js";
import { Compare } from "./pages/compare.js";
import { Experiment } from "./pages/experiment.js";
import { Experiments } from "./pages/experiments.js";
import { New } from "./pages/new.js";
import { Sweep } from "./pages/sweep.js";
import { Sweeps } from "./pages/sweeps.js";
import { Trouble, useTitle } from "./parts.js";
import { to, useRoute } from "./routing.js";
import { door, readKey, writeKey } from "./service.js";

const PLACES = [["experiments", "Experiments"], ["sweeps", "Sweeps"], ["new", "New"], ["catalog", "Catalogue"]];

/** What an id of the service looks like. */
const ID = /^[0-9a-f-]{1,36}$/i;

function Page({ path, query }) {
  const [place = "experiments", id] = path;
  if (["experiments", "sweeps"].includes(place) && id && !ID.test(id)) return html`<${Lost} />`;
  if (place === "experiments") return id ? html`<${Experiment} key=${id} id=${id} />` : html`<${Experiments} query=${query} />`;
  if (place === "sweeps") return id ? html`<${Sweep} key=${id} id=${id} />` : html`<${Sweeps} query=${query} />`;
  if (place === "compare") return html`<${Compare} query=${query} />`;
  if (place === "new") return html`<${New} query=${query} />`;
  if (place === "catalog") return html`<${Catalog} section=${id} kind=${path[2]} />`;
  return html`<${Lost} />`;
}

function Lost() {
  useTitle("Not here");
  return html`<h1>There is no such page</h1><p><a href=${to("experiments")}>All experiments</a></p>`;
}

/** What went wrong in a page's own code, instead of nothing; another address is another try. */
function Guarded({ place, children }) {
  const [error, again] = useErrorBoundary();
  useEffect(() => {
    if (error) again();
  }, [place]);
  if (!error) return children;
  return html`<div class="trouble" role="alert">
    <p>This page has a fault: ${String(error)}</p>
    <p><button onClick=${again}>Try again</button> <button onClick=${() => (sessionStorage.clear(), again())}>Try again without what this tab keeps, such as drafts</button></p>
  </div>`;
}

function App() {
  const { path, query } = useRoute();
  const [refusal, tell] = useState(null);
  useEffect(() => {
    const locked = ({ detail }) => tell(detail);
    door.addEventListener("locked", locked);
    return () => door.removeEventListener("locked", locked);
  }, []);
  return html`
    <header class="bar">
      <a class="brand" href=${to("experiments")}><img src="icon.svg" alt="" width="22" height="22" />Bilevel</a>
      <nav>${PLACES.map(([place, name]) => html`<a href=${to(place)} aria-current=${(path[0] ?? "experiments") === place ? "page" : undefined}>${name}</a>`)}</nav>
      <nav class="aside">
        ${readKey() && !refusal && html`<button class="quiet" onClick=${() => (writeKey(""), location.reload())}>Forget the key</button>`}
        <a href="../docs">HTTP interface</a>
      </nav>
    </header>
    <main>${refusal ? html`<${Key} error=${refusal} done=${() => tell(null)} />` : html`<${Guarded} place=${location.hash}><${Page} path=${path} query=${query} /><//>`}</main>`;
}

/** Asks for the key of a service that has one. */
function Key({ error, done }) {
  useTitle("Key");
  const submit = (event) => {
    event.preventDefault();
    writeKey(new FormData(event.target).get("key").trim());
    done();
  };
  return html`<form class="key-form" onSubmit=${submit}>
    <h1>This service has a key</h1>
    <p>It is what <code>BILEVEL_API_KEY</code> is set to where the service runs. This browser keeps it until you say “Forget the key”.</p>
    <p>
      <input name="key" type="password" aria-label="Key" autocomplete="current-password" pattern="[!-~]+" title="letters, digits and signs of ASCII" required autofocus />
      <button class="main">Enter</button>
    </p>
    ${readKey() && html`<${Trouble} error=${error} />`}
  </form>`;
}

render(html`<${App} />`, document.body);

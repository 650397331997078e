// The catalogue: every kind that a spec can name, by section, and what it has for fields.
import { useMemo, useState } from "preact/hooks";
import { entriesOf, fieldsOf, paragraphs, placesOf, specWith, titleOf } from "../catalogue.js";
import { addressOf, Values } from "../explaining.js";
import { words } from "../format.js";
import { html } from "../html.js";
import { pretty } from "../json.js";
import { usePolled } from "../live.js";
import { Copy, Facts, Nothing, Text, Trouble, useTitle } from "../parts.js";
import { to } from "../routing.js";

export function Catalog({ section, kind }) {
  const { content, error, refresh } = usePolled("catalog", {}, () => false);
  const entries = useMemo(() => (content ? entriesOf(content) : []), [content]);
  useTitle(kind ?? (section ? words(titleOf(section)) : "Catalogue"));
  if (!content) return html`<${Trouble} error=${error} again=${refresh} />${!error && html`<${Nothing}>Loading …<//>`}`;
  const shown = entries.filter((entry) => (!section || entry.section === section) && (!kind || entry.kind === kind));
  if (!shown.length) return html`<h1>Catalogue</h1><${Nothing}>It has no <code>${kind ?? section}</code>. <a href=${to("catalog")}>Show all</a><//>`;
  return kind ? html`<${Kind} entry=${shown[0]} entries=${entries} />` : html`<${Sections} section=${section} entries=${shown} />`;
}

/** Kinds by section, narrowed to those where the words of a text stand in the name and description, or in those of a field. */
function Sections({ section, entries }) {
  const [sought, seek] = useState("");
  const found = useMemo(() => entries.map((entry) => matched(entry, sought.trim().toLowerCase())).filter(Boolean), [entries, sought]);
  const sections = [...new Set(found.map(({ entry }) => entry.section))];
  return html`
    <div class="head">
      <h1>${section ? html`<a href=${to("catalog")}>Catalogue</a> / ${words(titleOf(section))}` : "Catalogue"}</h1>
      <input type="search" placeholder="kind or field" aria-label="kind or field" value=${sought} onInput=${(event) => seek(event.target.value)} />
    </div>
    ${!section && !sought && html`<p class="about">${sections.map((each) => html`<a href=${to(`catalog/${each}`)}>${words(titleOf(each))}</a>`)}</p>`}
    ${!found.length && html`<${Nothing}>No kind and no field is like that.<//>`}
    ${sections.map((each) => html`<section key=${each}>
      ${!section && html`<h2><a href=${to(`catalog/${each}`)}>${words(titleOf(each))}</a></h2>`}
      <dl class="kinds">${found.filter(({ entry }) => entry.section === each).map((one) => html`<${Summary} key=${one.entry.kind} ...${one} />`)}</dl>
    </section>`)}`;
}

/** An entry with those of its fields where the words of the text stand; null where they stand nowhere. */
function matched(entry, text) {
  const wanted = words(text).split(/\s+/).map((word) => word.replace(/ed$/, "")); // learned finds learn, too
  const has = (...parts) => wanted.every((word) => words(parts.join(" ").toLowerCase()).includes(word));
  const fields = text ? fieldsOf(entry).filter(({ name, description }) => has(name, description)) : [];
  return fields.length || has(entry.kind, entry.description) ? { entry, fields } : null;
}

function Summary({ entry, fields }) {
  return html`<dt><a href=${addressOf(entry)}><code>${entry.kind}</code></a></dt>
    <dd>
      <${Text} text=${paragraphs(entry.description)[0]} /> ${entry.missing && html`<span class="note" title=${entry.missing}>not prepared here</span>`}
      ${fields.map(({ name, description }) => html`<div class="faint"><code>${name}</code> <${Text} text=${description} /></div>`)}
    </dd>`;
}

function Kind({ entry, entries }) {
  const { section, kind, example, missing } = entry;
  const fields = fieldsOf(entry);
  const places = placesOf(entry, entries);
  return html`
    <div class="head">
      <h1><a href=${to("catalog")}>Catalogue</a> / <a href=${to(`catalog/${section}`)}>${words(titleOf(section))}</a> / ${kind}</h1>
      ${specWith(entry, entries) && html`<div class="actions"><a class="button" href=${to("new", { kind: `${section}.${kind}` })}>Use in a new experiment</a></div>`}
    </div>
    ${paragraphs(entry.description).map((each) => html`<p class="prose"><${Text} text=${each} /></p>`)}
    ${missing && html`<div class="caution"><p>Not prepared here. <${Text} text=${missing} /></p></div>`}
    ${entry.source && html`<${Facts} facts=${[["source", entry.source], ["licence", entry.licence]]} />`}
    ${places.length > 0 && html`<p class="about">
      <span class="faint">where it stands</span>
      ${places.map(({ owner, name }) => html`<span><a href=${addressOf(owner)}>${owner.kind}</a> <code>${name}</code></span>`)}
    </p>`}
    <section><h2>Fields</h2>${fields.length ? html`<${Fields} fields=${fields} entries=${entries} />` : html`<${Nothing}>It has none.<//>`}</section>
    <section>
      <h2>${section === "parts" ? "Example" : "With every default"} <${Copy} text=${pretty(example)} /></h2>
      <pre class="json"><code>${pretty(example)}</code></pre>
    </section>`;
}

function Fields({ fields, entries }) {
  return html`<div class="wide"><table class="list fields stacked">
    <thead><tr><th>field</th><th>may be</th><th>what it is</th></tr></thead>
    <tbody>${fields.map((field) => html`<tr key=${field.name}>
      <th><code>${field.name}</code></th>
      <td class="values"><${Values} field=${field} entries=${entries} /></td>
      <td><${Text} text=${field.description} /></td>
    </tr>`)}</tbody>
  </table></div>`;
}

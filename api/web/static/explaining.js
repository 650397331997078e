// Kinds and fields of the catalogue in words, with links to their pages.
import { useMemo } from "preact/hooks";
import { entryOf, explained, paragraphs } from "./catalogue.js";
import { html } from "./html.js";
import { Text } from "./parts.js";
import { pointerAt } from "./places.js";
import { to } from "./routing.js";

export const addressOf = ({ section, kind }) => to(`catalog/${encodeURIComponent(section)}/${encodeURIComponent(kind)}`);

/** What a field may be, and is by default; objects as links to their pages, which open in another tab where `target` says so. */
export const Values = ({ field, ...rest }) => html`<code><${Allowed} field=${field} ...${rest} /></code><span class="faint">; ${field.byDefault}</span>`;

function Allowed({ field, entries, target }) {
  if (!field.objects.length) return field.allowed;
  return field.objects.map(([name, definition], place) => {
    const entry = entryOf(definition, entries);
    return html`${place > 0 && " | "}${entry ? html`<a href=${addressOf(entry)} target=${target}>${entry.section === "parts" ? entry.kind : name}</a>` : name}`;
  });
}

/** What the kind and the field at a position of a spec's text are. */
export function AtCaret({ text, found, position, entries }) {
  const spec = useMemo(() => JSON.parse(text), [text]);
  const { entry, field } = explained(spec, pointerAt(found, position), entries);
  return html`<div class="explained">
    <p><a href=${addressOf(entry)} target="_blank">${entry.section === "parts" ? entry.kind : `${entry.section}/${entry.kind}`}</a>
      <span class="faint"> <${Text} text=${paragraphs(entry.description)[0]} /></span></p>
    ${field && html`<p><code>${field.name}</code>: <${Values} field=${field} entries=${entries} target="_blank" />. <${Text} text=${field.description} /></p>`}
  </div>`;
}

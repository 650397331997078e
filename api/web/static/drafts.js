// Texts of specs that are being written, kept by this tab of the browser; and what they begin from.
import { useEffect, useState } from "preact/hooks";
import { entriesOf, specWith, withoutDefaults } from "./catalogue.js";
import { own, pretty } from "./json.js";
import { get, ORIGIN } from "./service.js";

const DRAFT = `bilevel-draft ${ORIGIN} `, SENT = `bilevel-sent ${ORIGIN}`;

/** What a new spec can begin from, {name: [[query, label]]}: examples, every problem. */
export function beginnings({ experiment, sweep, kinds }) {
  const named = (section, names) => names.map((name) => [`${section}.${name}`, name]);
  return {
    "an experiment": named("experiment", Object.keys(experiment.examples)),
    "a sweep": named("sweep", Object.keys(sweep.examples)),
    "a problem, with every field": named("problem", kinds.problem.map(({ kind }) => kind)),
  };
}

/** The spec that a query begins from: an experiment's, a sweep's, a kind of the catalogue, an example. */
async function begun(query, catalog, signal) {
  const [from, sweep, kind] = ["from", "sweep", "kind"].map((name) => query.get(name));
  if (from) return withoutDefaults((await get(`experiments/${encodeURIComponent(from)}`, {}, { signal })).spec, catalog);
  if (sweep) return (await get(`sweeps/${encodeURIComponent(sweep)}`, {}, { signal })).spec;
  const [section, name] = (kind ?? "").split(/\.(.*)/s);
  const entries = entriesOf(catalog);
  const entry = entries.find((each) => each.section === section && each.kind === name);
  const examples = catalog[section]?.examples ?? catalog.experiment.examples;
  return (entry && specWith(entry, entries)) ?? own(examples, name) ?? Object.values(examples)[0];
}

/** The text begun from a query: {text, write, changed, again, forget, error}, text null until it is there; a text that was changed is kept. */
export function useDraft(query, catalog) {
  const key = DRAFT + query;
  const [draft, tell] = useState({ text: null });
  const [origin, begin] = useState({ text: null, error: null });
  useEffect(() => {
    const kept = sessionStorage.getItem(key);
    tell({ text: kept });
    begin({ text: null, error: null });
    if (!catalog) return undefined;
    const reading = new AbortController();
    begun(query, catalog, reading.signal).then(
      (spec) => {
        const text = `${pretty(spec)}\n`;
        begin({ text, error: null });
        tell((before) => ({ text: before.text ?? text }));
      },
      (error) => error.name !== "AbortError" && begin({ text: null, error }),
    );
    return () => reading.abort();
  }, [key, Boolean(catalog)]); // the catalogue that comes when it is read again is the same
  const write = (text) => {
    tell({ text });
    sessionStorage.setItem(key, text);
  };
  const forget = () => sessionStorage.removeItem(key);
  const again = () => {
    forget();
    tell({ text: origin.text });
  };
  return { text: draft.text, write, changed: origin.text !== null && draft.text !== origin.text, again, forget, error: origin.error };
}

/** The key that a text is sent with until it is known to have arrived: sending it again does not submit it twice. */
export function keyOf(text) {
  const sent = JSON.parse(sessionStorage.getItem(SENT) ?? "{}");
  if (sent.text === text) return sent.key;
  const key = Array.from(crypto.getRandomValues(new Uint8Array(16)), (byte) => byte.toString(16).padStart(2, "0")).join("");
  sessionStorage.setItem(SENT, JSON.stringify({ text, key }));
  return key;
}

export const arrived = () => sessionStorage.removeItem(SENT);

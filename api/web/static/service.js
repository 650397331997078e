// How the pages speak with the service: JSON over /v1, with the key if it has one.
import { search } from "./routing.js";

const ROOT = new URL("../v1/", document.baseURI);
export const ORIGIN = ROOT.pathname; // services under one host name keep their own keys and drafts
const KEY = `bilevel-key ${ORIGIN}`;
const PATIENCE = 30, LONGER = 120; // seconds for an answer: to a question, to a submission
const SILENCE = 40; // seconds without a sign of life after which a stream is given up; the service gives one every 15

/** Hears `locked`, with the Refusal as `detail`, whenever the service asks for a key or another one. */
export const door = new EventTarget();

/** What the service refused, or that it did not answer (status 0). */
class Refusal extends Error {
  constructor(status, problem) {
    super(problem.detail);
    this.status = status;
    this.code = problem.code;
    this.errors = problem.errors ?? [];
  }
}

export const readKey = () => localStorage.getItem(KEY) ?? "";
export const writeKey = (key) => (key ? localStorage.setItem(KEY, key) : localStorage.removeItem(KEY));

/** The address of something in the service, such as `experiments/ID/curves`. */
export const address = (path, query = {}) => new URL(`./${path}${search(query)}`, ROOT); // without ./ experiments:plan would be a scheme

const unanswered = () => new Refusal(0, { code: "unreachable", detail: "The service does not answer." });

/** A failure as pages know it: no answer in time, or none at all, is a Refusal, too. */
const known = (error) => (error instanceof Refusal || error.name === "AbortError" ? error : unanswered());

/** Asks the service; a Refusal is thrown for every answer that is no success. */
async function ask(url, { method = "GET", body, headers = {}, signal } = {}) {
  const key = readKey();
  const sent = { ...headers, ...(key && { Authorization: `Bearer ${key}` }), ...(body !== undefined && { "Content-Type": "application/json" }) };
  const response = await fetch(url, { method, body, headers: sent, signal, cache: "no-store" });
  if (response.ok || response.status === 304) return response;
  const problem = await response.json().catch(() => ({}));
  const refusal = new Refusal(response.status, { detail: `The service answered ${response.status} ${response.statusText}.`, ...problem });
  if (response.status === 401) door.dispatchEvent(new CustomEvent("locked", { detail: refusal }));
  throw refusal;
}

/** The answer as JSON, null where it is still that of an ETag; and its ETag. */
async function read(url, { signal, patience = PATIENCE, ...options } = {}) {
  const late = AbortSignal.timeout(1000 * patience);
  try {
    const response = await ask(url, { ...options, signal: signal ? AbortSignal.any([signal, late]) : late });
    return { content: response.status === 304 ? null : await response.json(), etag: response.headers.get("ETag") };
  } catch (error) {
    throw known(error);
  }
}

export const get = async (path, query, options) => (await read(address(path, query), options)).content;

/** The answer and its ETag, or null where it is still that of `etag`. */
export async function getChanged(path, query, etag, options) {
  const answer = await read(address(path, query), { ...options, headers: etag ? { "If-None-Match": etag } : {} });
  return answer.content === null ? null : answer;
}

/** Posts JSON; a string is sent as it is, so that the service is the one that says what is wrong with it. */
export async function post(path, body, { query, idempotencyKey, signal } = {}) {
  const content = body === undefined || typeof body === "string" ? body : JSON.stringify(body);
  const headers = idempotencyKey ? { "Idempotency-Key": idempotencyKey } : {};
  return (await read(address(path, query), { method: "POST", body: content, headers, signal, patience: LONGER })).content;
}

/** Saves what is at an address as a file; with a key this cannot be a plain link. */
export async function download(url, name, accept) {
  const blob = await (await ask(url, { headers: accept ? { Accept: accept } : {} })).blob();
  const link = Object.assign(document.createElement("a"), { href: URL.createObjectURL(blob), download: name });
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10_000);
}

/** Server-sent events from a path: yields {kind, data}; ends when the service ends the stream. */
export async function* events(path, query, signal) {
  let reader;
  try {
    const response = await ask(address(path, query), { signal, headers: { Accept: "text/event-stream" } });
    if (response.status === 204) return;
    reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
    let rest = "";
    for (;;) {
      const { done, value } = await within(SILENCE, reader.read());
      if (done) return;
      const blocks = (rest + value).split(/\r?\n\r?\n/);
      rest = blocks.pop();
      for (const block of blocks) {
        const fields = new Map(block.split(/\r?\n/).map((line) => line.match(/^(\w+): ?(.*)$/s)?.slice(1) ?? ["comment", line]));
        if (fields.has("data")) yield { kind: fields.get("event"), data: JSON.parse(fields.get("data")) };
      }
    }
  } catch (error) {
    throw known(error);
  } finally {
    await reader?.cancel().catch(() => {}); // else the connection stays, of which a browser has six
  }
}

/** What a promise gives within so many seconds. */
async function within(seconds, promise) {
  let timer;
  const late = new Promise((_, fail) => (timer = setTimeout(() => fail(unanswered()), 1000 * seconds)));
  return Promise.race([promise, late]).finally(() => clearTimeout(timer));
}

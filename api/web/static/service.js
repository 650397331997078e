// How the pages speak with the service: JSON over /v1, with the key if it has one.

const ROOT = new URL("../v1/", document.baseURI);
const KEY = "bilevel-key";

/** What the service refused, or that it did not answer (status 0). */
export class Refusal extends Error {
  constructor(status, problem) {
    super(problem.detail);
    this.status = status;
    this.code = problem.code;
    this.errors = problem.errors ?? [];
  }
}

export const readKey = () => localStorage.getItem(KEY) ?? "";
export const writeKey = (key) => (key ? localStorage.setItem(KEY, key) : localStorage.removeItem(KEY));

/** The address of something in the service: `experiments/ID/curves`, with a query whose lists are repeated. */
export function address(path, query = {}) {
  const url = new URL(`./${path}`, ROOT); // experiments:plan would be a scheme
  for (const [name, value] of Object.entries(query)) {
    for (const each of [value].flat()) if (each !== undefined && each !== null && each !== "") url.searchParams.append(name, each);
  }
  return url;
}

/** Asks the service; a Refusal is thrown for every answer that is no success. */
async function ask(url, { method = "GET", body, headers = {}, signal } = {}) {
  const key = readKey();
  const sent = { ...headers, ...(key && { Authorization: `Bearer ${key}` }), ...(body !== undefined && { "Content-Type": "application/json" }) };
  let response;
  try {
    response = await fetch(url, { method, body, headers: sent, signal, cache: "no-store" });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Refusal(0, { code: "unreachable", detail: "The service does not answer." });
  }
  if (response.ok || response.status === 304) return response;
  const problem = await response.json().catch(() => ({}));
  throw new Refusal(response.status, { detail: `The service answered ${response.status} ${response.statusText}.`, ...problem });
}

export const get = async (path, query, options) => (await ask(address(path, query), options)).json();

/** The answer and its ETag, or null where it is still that of `etag`. */
export async function getChanged(path, query, etag, options) {
  const response = await ask(address(path, query), { ...options, headers: etag ? { "If-None-Match": etag } : {} });
  return response.status === 304 ? null : { content: await response.json(), etag: response.headers.get("ETag") };
}

/** Posts JSON; a string is sent as it is, so that the service is the one that says what is wrong with it. */
export async function post(path, body, { query, idempotencyKey, signal } = {}) {
  const content = body === undefined || typeof body === "string" ? body : JSON.stringify(body);
  const headers = idempotencyKey ? { "Idempotency-Key": idempotencyKey } : {};
  return (await ask(address(path, query), { method: "POST", body: content, headers, signal })).json();
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
  const response = await ask(address(path, query), { signal, headers: { Accept: "text/event-stream" } });
  if (response.status === 204) return;
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  for (;;) {
    const { done, value } = await reader.read();
    if (done) return;
    const blocks = (rest + value).split(/\r?\n\r?\n/);
    rest = blocks.pop();
    for (const block of blocks) {
      const fields = new Map(block.split(/\r?\n/).map((line) => line.match(/^(\w+): ?(.*)$/)?.slice(1) ?? ["comment", line]));
      if (fields.has("data")) yield { kind: fields.get("event"), data: JSON.parse(fields.get("data")) };
    }
  }
}

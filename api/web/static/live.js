// What pages show is kept up to date while somebody looks at them; nothing is asked for by a page in the background.
import { useEffect, useReducer, useRef, useState } from "preact/hooks";
import { Curves } from "./curves.js";
import { events, get, getChanged } from "./service.js";

export const TERMINAL = new Set(["succeeded", "failed", "cancelled"]);
export const SOON = 2, LATER = 10; // seconds between two looks: while something goes on, and while nothing does or there is much to look at
const FIRST_PAUSE = 1, LONGEST_PAUSE = 30; // seconds between attempts while the service does not answer

/** The time, told again every so many seconds: for ages and times to go. */
export function useClock(seconds = 1) {
  const [now, tell] = useState(Date.now);
  useEffect(() => {
    const timer = setInterval(() => tell(Date.now()), 1000 * seconds);
    return () => clearInterval(timer);
  }, [seconds]);
  return now;
}

/** Runs `work(signal)` while the page is seen, from the beginning each time that it comes to the front; `key` is what it depends on. */
export function useWhileSeen(work, key) {
  useEffect(() => {
    let running;
    const start = () => {
      running?.abort();
      if (document.hidden) return;
      running = new AbortController();
      work(running.signal).catch((error) => {
        if (error.name !== "AbortError") throw error;
      });
    };
    start();
    document.addEventListener("visibilitychange", start);
    return () => {
      document.removeEventListener("visibilitychange", start);
      running?.abort();
    };
  }, key);
}

export function sleep(seconds, signal) {
  return new Promise((done, stop) => {
    const stopped = () => {
      clearTimeout(timer);
      stop(new DOMException("no longer looked at", "AbortError"));
    };
    const timer = setTimeout(() => {
      signal.removeEventListener("abort", stopped);
      done();
    }, 1000 * seconds);
    signal.addEventListener("abort", stopped);
    if (signal.aborted) stopped();
  });
}

/** Whether a request is worth repeating: the service did not answer, or said that it cannot now. */
const passes = (error) => error.status === 0 || error.status >= 500 || error.status === 429;

/** Calls `once(signal)` until it says that nothing follows (false) or how many seconds to wait; failures that pass are told and tried again. */
export async function repeatedly(once, tell, signal) {
  let pause = FIRST_PAUSE;
  for (;;) {
    let wait;
    try {
      wait = await once(signal);
      tell(null);
      pause = FIRST_PAUSE;
      if (wait === false) return;
    } catch (error) {
      if (error.name === "AbortError") throw error;
      tell(error);
      if (!passes(error)) return;
      wait = pause;
      pause = Math.min(2 * pause, LONGEST_PAUSE);
    }
    await sleep(wait, signal);
  }
}

/**
 * What a path holds, asked for again and again, by its ETag where it has one.
 *
 * `pause(content)` says after how many seconds, or false when it will not change any more; it begins again where `anew` changes.
 * Returns {content, error, refresh}; what was there stays while the service does not answer.
 */
export function usePolled(path, query, pause, anew = 0) {
  const [state, tell] = useReducer((before, change) => ({ ...before, ...change }), { content: null, error: null });
  const [turn, again] = useReducer((count) => count + 1, 0);
  const shown = useRef(null);
  const key = JSON.stringify([path, query]);
  useWhileSeen((signal) => {
    if (shown.current !== key) tell({ content: null, error: null });
    shown.current = key;
    let etag = null, content = null;
    const look = async () => {
      const found = await getChanged(path, query, etag, { signal });
      if (found) {
        ({ content, etag } = found);
        tell({ content });
      }
      return pause(content);
    };
    return repeatedly(look, (error) => tell({ error }), signal);
  }, [key, turn, anew]);
  return { ...state, refresh: again };
}

/**
 * An experiment as it goes: its record, what has happened to it, its curves.
 *
 * Returns {record, events, curves, error}, with null for what is not there yet, and `refresh`.
 */
export function useExperiment(id) {
  const start = { record: null, events: [], curves: null, error: null };
  const [state, tell] = useReducer((before, change) => ({ ...before, ...change }), start);
  const [turn, refresh] = useReducer((count) => count + 1, 0);
  const follow = (signal) => {
    tell({ events: [] });
    const told = [];
    const curves = new Curves(id);
    let last = 0;
    const look = async () => {
      let record = await get(`experiments/${encodeURIComponent(id)}`, {}, { signal });
      const read = async () => {
        await curves.read(record, signal);
        tell({ record, curves: curves.series, error: null });
      };
      tell({ record });
      await read();
      let ended = false;
      for await (const { kind, data } of events(`experiments/${encodeURIComponent(id)}/events`, { after: last }, signal)) {
        last = data.version;
        if (kind === "progress") {
          record = { ...record, ...data };
          await read();
          continue;
        }
        told.push({ kind, ...data });
        tell({ events: [...told] });
        ended = TERMINAL.has(kind);
        if (data.version > record.version) {
          record = await get(`experiments/${encodeURIComponent(id)}`, {}, { signal });
          await read();
        }
      }
      return ended || TERMINAL.has(record.status) ? false : FIRST_PAUSE;
    };
    return repeatedly(look, (error) => tell({ error }), signal);
  };
  useWhileSeen(follow, [id, turn]);
  return { ...state, refresh };
}

/**
 * Several experiments as they go: id -> {record, result, curves, error}, without what is not there yet.
 *
 * Those that have ended are not read again, unless they could not be read.
 */
export function useExperiments(ids) {
  const [found, tell] = useReducer((before, [id, change]) => ({ ...before, [id]: { ...before[id], ...change } }), {});
  const whole = useRef(new Set());
  useWhileSeen((signal) => Promise.all(ids.filter((id) => !whole.current.has(id)).map((id) => {
    const curves = new Curves(id);
    const look = async () => {
      const record = await get(`experiments/${encodeURIComponent(id)}`, {}, { signal });
      await curves.read(record, signal);
      const result = record.status === "succeeded" ? await get(`experiments/${encodeURIComponent(id)}/result`, {}, { signal }) : null;
      tell([id, { record, result, curves: curves.series }]);
      if (!TERMINAL.has(record.status)) return SOON;
      whole.current.add(id);
      return false;
    };
    return repeatedly(look, (error) => tell([id, { error }]), signal);
  })), [ids.join()]);
  return found;
}

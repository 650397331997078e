// Numbers, times and names as a person wants to read them; as the `bilevel` command writes them.

/** A number as the service sends it: those that JSON does not have are strings. */
export const plain = (value) => (value === null || value === undefined ? NaN : Number(value));

/** So many significant digits; values that are not finite by name. */
export function number(value, digits = 4) {
  const x = plain(value);
  if (!Number.isFinite(x)) return Number.isNaN(x) ? "NaN" : x > 0 ? "∞" : "-∞";
  if (x === 0) return "0";
  const exponent = Number(x.toExponential(digits - 1).split("e")[1]);
  if (exponent >= -4 && exponent < digits) return String(Number(x.toPrecision(digits)));
  const [mantissa] = x.toExponential(digits - 1).split("e");
  return `${Number(mantissa)}e${exponent < 0 ? "-" : "+"}${String(Math.abs(exponent)).padStart(2, "0")}`;
}

export function percent(fraction) {
  const x = plain(fraction);
  return Number.isFinite(x) ? `${(100 * x).toFixed(2)} %` : number(x);
}

/** A value of a metric or series by its name: accuracies in per cent. */
export const measure = (name, value, digits = 4) => (name.includes("accuracy") ? percent(value) : number(value, digits));

/** A mean with what it may be off by, if that is known: two digits of it, four from a hundred on. */
export function around(name, mean, deviation) {
  const text = measure(name, mean);
  if (deviation === null || deviation === undefined) return text;
  const digits = Math.abs(plain(deviation)) >= 99.5 ? 4 : 2;
  return `${text.replace(/ %$/, "")} ± ${measure(name, deviation, digits)}`;
}

/** A metric {mean, ci95} with its interval. */
export const score = (name, metric) => (metric && metric.mean !== null ? around(name, metric.mean, metric.ci95) : "");

export function duration(seconds) {
  if (seconds < 10) return `${seconds.toFixed(1)} s`;
  const whole = Math.round(seconds);
  if (whole < 100) return `${whole} s`;
  const minutes = Math.floor(whole / 60);
  if (minutes < 100) return `${minutes} min ${String(whole % 60).padStart(2, "0")} s`;
  return `${Math.floor(minutes / 60)} h ${String(minutes % 60).padStart(2, "0")} min`;
}

/** How long ago a moment in ISO 8601 was. */
export function age(moment, now = Date.now()) {
  const seconds = (now - Date.parse(moment)) / 1000;
  for (const [length, unit] of [[86400, "d"], [3600, "h"], [60, "min"]]) {
    if (seconds >= length) return `${Math.floor(seconds / length)} ${unit} ago`;
  }
  return "just now";
}

export const moment = (text) => new Date(text).toLocaleString();

export function bytes(size) {
  for (const [length, unit] of [[2 ** 30, "GiB"], [2 ** 20, "MiB"], [2 ** 10, "KiB"]]) {
    if (size >= length) return `${(size / length).toFixed(1)} ${unit}`;
  }
  return `${size} B`;
}

/** Names of fields and kinds without their underscores. */
export const words = (name) => name.replaceAll("_", " ");
export const capital = (text) => text.charAt(0).toUpperCase() + text.slice(1).toLowerCase();

/** Names sorted so that numbers in them rise: rate/2 before rate/10. */
const order = new Intl.Collator("en", { numeric: true });
export const inOrder = (names) => [...names].sort(order.compare);

/** What comes next: what a queued experiment waits for, the time to go of one that runs; else its status in words. */
export function toCome(record, now = Date.now()) {
  const { status, progress } = record;
  if (status === "queued") {
    const lost = record.lost_attempt;
    const seconds = lost ? (Date.parse(lost.retried_at) - now) / 1000 : 0;
    if (seconds > 0) return `lost (${lost.error.code}), tried again in ${duration(seconds)}`;
    return `waits for ${record.waiting_for}`;
  }
  if (status !== "running" || progress.eta_seconds === null) return status;
  // After the last hyperiteration it is evaluated, which takes a time that nobody knows.
  return progress.hyperiteration >= progress.hyperiterations - 1 ? "evaluating" : `${duration(progress.eta_seconds)} to go`;
}

/** How the outer variables are found, in a few words. */
export function method(algorithm) {
  return algorithm.kind === "nested" ? `${words(algorithm.hypergradient.kind)} hypergradient, T = ${algorithm.steps}` : words(algorithm.kind);
}

/** A value of a spec in short: an object by its kind and what differs from nothing. */
export function setting(value) {
  if (value === null || value === undefined) return "–";
  if (typeof value !== "object") return String(value);
  if (Array.isArray(value)) return `[${value.map(setting).join(", ")}]`;
  const { kind, ...rest } = value;
  const fields = Object.entries(rest).map(([name, each]) => `${name}=${setting(each)}`).join(", ");
  if (kind === undefined) return `{${fields}}`;
  return fields ? `${kind}(${fields})` : kind;
}

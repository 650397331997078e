// What of curves is drawn together: the panels of a page, their titles, lines and thresholds; as in `bilevel curves --plot`.
import { capital, words } from "./format.js";
import { own } from "./json.js";

export const MOST_LINES = 8; // of a panel that are told apart by colour

const GRADIENTS = {
  hypergradient_norm: "Norm of the hypergradient",
  inner_gradient_norm: "Norm of the inner gradient at w_T",
  solver_residual: "Residual of the linear solve",
  solver_iterations: "Iterations of the linear solve",
};
const DIAGNOSTICS = {
  inner_gradient_relative: "Inner gradient at w_T over that at w_0",
  truncation_error: "Truncation error",
  comparison_error: "Difference from another hypergradient",
  comparison_cosine: "Cosine with another hypergradient",
  contraction_factor: "Contraction factor",
  contraction_error: "Error of the contraction factor",
  direction_cosine: "Cosine with the hypergradient before",
};
const THRESHOLDS = {
  inner_gradient_relative: ["stationarity", "warn_above"],
  truncation_error: ["truncation", "warn_above"],
  comparison_error: ["comparison", "warn_above"],
  contraction_factor: ["contraction", "warn_above"],
  direction_cosine: ["direction", "warn_below"],
  solver_residual: ["solver", "warn_above"],
};
const LABELS = { inner_objective_start: "at w_0", inner_objective_end: "at w_T" };
const PLACED = new Set(["outer_objective", "inner_objective_start", "inner_objective_end", "seconds", ...Object.keys(GRADIENTS), ...Object.keys(DIAGNOSTICS)]);

const panel = (title, series, { fraction = false, logarithmic = false } = {}) => ({ title, series, fraction, logarithmic });
const unique = (values) => [...new Set(values)];

/** Panels {title, series, fraction, logarithmic} in the order in which one looks at them, of the series that are there. */
export function panels(names) {
  const known = new Set(names);
  const present = (...wanted) => wanted.filter((name) => known.has(name));
  const titled = (titles) => Object.keys(titles).filter((name) => known.has(name)).map((name) => panel(titles[name], [name], { logarithmic: true }));
  const measured = names.filter((name) => /^(validation|test)\//.test(name));
  const outer = names.filter((name) => name.startsWith("outer/"));
  const others = names.filter((name) => !PLACED.has(name) && !/^(validation|test|outer)\//.test(name));
  const found = [
    panel("Outer objective", present("outer_objective"), { logarithmic: true }),
    ...unique(measured.map((name) => name.slice(name.indexOf("/") + 1))).map((metric) => {
      const fraction = metric.includes("accuracy");
      return panel(capital(words(metric)), present(`validation/${metric}`, `test/${metric}`), { fraction, logarithmic: !fraction });
    }),
    panel("Inner objective", present("inner_objective_start", "inner_objective_end"), { logarithmic: true }),
    ...titled(GRADIENTS),
    ...unique(outer.map(family)).map((variable) =>
      panel(capital(words(variable)), outer.filter((name) => family(name) === variable), { logarithmic: true })),
    panel("Seconds a hyperiteration", present("seconds")),
    ...titled(DIAGNOSTICS),
    ...titled(Object.fromEntries(others.map((name) => [name, name]))),
  ];
  return found.filter((each) => each.series.length);
}

/** A panel for each of its series, where they would be told apart. */
export function apart(whole) {
  return whole.series.length < 2 || whole.series.length > MOST_LINES ? [whole] : whole.series.map((name) => alone(whole, name));
}

/** The panel of one series by itself. */
export function panelOf(name) {
  const [whole] = panels([name]);
  return name.includes("/") ? alone(whole, name) : whole;
}

function alone(whole, name) {
  const own = label(name);
  const title = own.toLowerCase() === whole.title.toLowerCase() ? whole.title : `${whole.title}, ${own}`;
  return { ...whole, title, series: [name] };
}

/** Values of the panel's series from which on the experiments of these specs warn. */
export function thresholds(whole, specs) {
  if (whole.series.length !== 1 || !Object.hasOwn(THRESHOLDS, whole.series[0])) return [];
  const [section, field] = THRESHOLDS[whole.series[0]];
  const found = specs.map((spec) => spec.diagnostics?.[section]?.[field]);
  return unique(found.filter((value) => value !== undefined && value !== null)).sort((a, b) => a - b);
}

/** The first word of an outer variable's name: weight of weight_clean, rate of rate/0. */
const family = (name) => name.split("/")[1].split("_")[0];

/** The short name of a series: validation of validation/accuracy, 0 of outer/rate/0. */
export function label(name) {
  const [first, ...rest] = name.split("/");
  if (first !== "outer") return own(LABELS, first) ?? first;
  const whole = rest.join("/");
  const variable = family(name);
  const short = whole.startsWith(variable) ? whole.slice(variable.length) : whole;
  return words(short.replace(/^[_/]+/, "")) || whole;
}

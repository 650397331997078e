// Lines over hyperiterations, drawn by uPlot: pointed at together, zoomed into by dragging, back by a double click.
import { useEffect, useMemo, useRef, useState } from "preact/hooks";
import uPlot from "uplot";
import { number, percent } from "./format.js";
import { html } from "./html.js";

const HEIGHT = 210;
const FEW = 40; // points up to which each is marked
const MOST_KEYS = 16; // of lines without names
const MOST_TICKS = 8; // of an axis, where they are at the values
const NOISY = 200; // points from which a line is thin
const TOGETHER = uPlot.sync("hyperiterations");
export const COLOURS = 8;

export const DASHES = [undefined, [8, 4], [2, 3], [8, 3, 2, 3]];

/** Colour and dashes of one of many lines: other dashes after each round of the colours. */
export const looks = (place) => ({ colour: place % COLOURS, dashes: Math.floor(place / COLOURS) % DASHES.length });

/** Whether the finite ones among the values need a logarithmic axis, and can have one. */
export function spansDecades(values) {
  let least = Infinity, greatest = -Infinity;
  for (const value of values) {
    if (!Number.isFinite(value)) continue;
    least = Math.min(least, value);
    greatest = Math.max(greatest, value);
  }
  return least > 0 && greatest > 50 * least;
}

/** The drawing's colours, which style.css has for light and for dark. */
function inks() {
  const style = getComputedStyle(document.documentElement);
  const of = (name) => style.getPropertyValue(name).trim();
  return { line: Array.from({ length: COLOURS }, (_, place) => of(`--line-${place}`)), faint: of("--faint"), grid: of("--grid"), alarm: of("--alarm") };
}

/** Told again when the scheme of colours changes. */
function useScheme() {
  const query = useMemo(() => matchMedia("(prefers-color-scheme: dark)"), []);
  const [dark, tell] = useState(query.matches);
  useEffect(() => {
    const changed = () => tell(query.matches);
    query.addEventListener("change", changed);
    return () => query.removeEventListener("change", changed);
  }, [query]);
  return dark;
}

/**
 * A panel of lines with its title and what each line is at the pointer, or at its end.
 *
 * A line is {label, owner?, colour, dashes, step, value, attempt?, low?, high?}: `owner` says whose it is where one
 * points at its key, `colour` and `dashes` are numbers, `low` and `high` the edges of a band around it. `thresholds`
 * are drawn across. Where the lines are not over hyperiterations, `along` is what they are over, {name, logarithmic}.
 */
export function Chart({ title, lines, fraction = false, logarithmic = false, thresholds = [], along = null }) {
  const place = useRef(null), plot = useRef(null), zoomed = useRef(false);
  const [at, point] = useState(null);
  const [chosen, choose] = useState(null);
  const scheme = useScheme();
  const limits = thresholds.join();
  const fitting = useMemo(() => logarithmic && spansDecades([...lines.flatMap((line) => [...line.value, ...(line.low ?? [])]), ...thresholds]), [lines, logarithmic, limits]);
  const log = chosen ?? fitting;
  const data = useMemo(() => aligned(lines, log), [lines, log]);
  const looksOf = ({ label, colour, dashes, low, step }) => [label, colour, dashes, Boolean(low), step.length > FEW, step.length > NOISY];
  const shape = JSON.stringify([lines.map(looksOf), log, fraction, thresholds, scheme, along]);
  const drawn = useRef(null);
  drawn.current = { lines, data };

  useEffect(() => {
    const width = place.current.clientWidth;
    plot.current = new uPlot(options({ drawn, log, fraction, thresholds, along, width, point, zoomed }), data.columns, place.current);
    zoomed.current = false;
    const sized = new ResizeObserver(([entry]) => plot.current.setSize({ width: entry.contentRect.width, height: HEIGHT }));
    sized.observe(place.current);
    return () => {
      sized.disconnect();
      plot.current.destroy();
    };
  }, [shape]);
  useEffect(() => plot.current.setData(data.columns, !zoomed.current), [data]);

  const shown = fraction ? percent : number;
  return html`<figure class="panel">
    <figcaption>
      <span class="title">${title}</span>
      ${logarithmic && html`<button class="quiet scale" title="Scale of the axis" onClick=${() => choose(!log)}>${log ? "log" : "linear"}</button>`}
    </figcaption>
    <div class="legend">
      ${lines.filter(({ label }) => label || (lines.length <= MOST_KEYS && !(along && at === null))).map((line) => {
        const value = along && at === null ? undefined : valueAt(line, at);
        return html`<${Key} ...${line} text=${value === undefined ? "" : shown(value)} />`;
      })}
      <span class="at">${at === null ? "" : `at ${along ? number(at) : at}`}</span>
    </div>
    <div class="plot" ref=${place} />
  </figure>`;
}

/** What a line looks like, its label, and its value in words. */
function Key({ owner, colour, dashes = 0, label, text }) {
  return html`<span class="key" title=${owner}>
    ${owner && html`<span class="unseen">${owner} </span>`}<i class=${`line-${colour} dash-${dashes}`} />${label && html`<span class="label">${label}</span>`} <b>${text}</b>
  </span>`;
}

/** The value of a line at a hyperiteration or, where it has none there, before; the last one where none is pointed at. */
function valueAt(line, at) {
  if (at === null) return line.value.at(-1);
  let low = 0, high = line.step.length;
  while (low < high) {
    const middle = (low + high) >> 1;
    if (line.step[middle] <= at) low = middle + 1;
    else high = middle;
  }
  return line.value[low - 1];
}

/** The lines as columns over all their hyperiterations; what cannot be drawn on the axis is a gap. */
function aligned(lines, log) {
  const drawable = (value) => (Number.isFinite(value) && (!log || value > 0) ? value : null);
  const tables = lines.map((line) => [line.step, ...[line.value, ...(line.low ? [line.low, line.high] : [])].map((values) => values.map(drawable))]);
  return { columns: tables.length ? uPlot.join(tables) : [[]] };
}

function options({ drawn, log, fraction, thresholds, along, width, point, zoomed }) {
  const ink = inks();
  const { lines } = drawn.current;
  const series = [{}], bands = [];
  const few = lines.length <= COLOURS && lines.every(({ step }) => step.length <= FEW);
  for (const line of lines) {
    const stroke = ink.line[line.colour];
    const many = line.step.length;
    series.push({
      stroke,
      width: lines.length > COLOURS || many > NOISY ? 1 : 1.8,
      dash: DASHES[line.dashes ?? 0],
      points: { show: few, size: 5, fill: stroke },
    });
    if (line.low) {
      const edge = { stroke: "transparent", width: 0, points: { show: false } };
      series.push(edge, edge);
      bands.push({ series: [series.length - 1, series.length - 2], fill: `${stroke}26` });
    }
  }
  const axis = { stroke: ink.faint, grid: { stroke: ink.grid, width: 1 }, ticks: { show: false }, font: "11px system-ui, sans-serif" };
  const height = (digits) => (value) => (value === null ? "" : fraction ? `${Number((100 * value).toPrecision(6))} %` : number(value, digits));
  const heights = (values) => values.map(height([4, 6, 8].find((digits) => new Set(values.map((value) => number(value, digits))).size === values.length) ?? 10));
  return {
    width,
    height: HEIGHT,
    legend: { show: false },
    padding: [10, 12, 0, 0],
    scales: {
      x: { time: false, ...(along?.logarithmic && { distr: 3, range: (u, least, greatest) => [least / 1.1, greatest * 1.1] }) },
      y: { distr: log ? 3 : 1, range: log ? undefined : (u, least, greatest) => roomy(least, greatest, thresholds) },
    },
    axes: [
      along ? { ...axis, size: 28, ...marked(along, lines) } : { ...axis, size: 28, incrs: [1, 2, 5, 10, 20, 50, 100, 200, 500, 1e3, 2e3, 5e3, 1e4, 2e4, 5e4, 1e5, 1e6, 1e7] },
      { ...axis, size: fit, gap: 6, values: (u, values) => heights(values), ...(log && powers) },
    ],
    series,
    bands,
    cursor: {
      ...(!along && { sync: { key: TOGETHER.key, scales: ["x", null] } }),
      drag: { x: true, y: false },
      points: { size: 6 },
      y: false,
    },
    hooks: {
      setCursor: [(u) => point(u.cursor.idx === null || u.cursor.idx === undefined ? null : (u.data[0][u.cursor.idx] ?? null))],
      setSelect: [(u) => (zoomed.current = u.select.width > 0)],
      ready: [(u) => u.over.addEventListener("dblclick", () => (zoomed.current = false))],
      draw: [(u) => marks(u, drawn.current.lines, thresholds, ink)],
    },
  };
}

/** The ticks of a logarithmic axis: powers of ten, with 2 and 5 of each between where these are few. */
function decades(u, axis, least, greatest) {
  const [first, last] = [Math.floor(Math.log10(least)), Math.ceil(Math.log10(greatest))];
  const span = Math.log10(greatest) - Math.log10(least);
  const every = Math.ceil(span / 6);
  const between = span <= 2 ? [1, 2, 5] : [1];
  const ticks = [];
  for (let power = first; power <= last; power += every) ticks.push(...between.map((each) => Number(`${each}e${power}`)));
  return ticks.filter((tick) => tick >= least * 0.999 && tick <= greatest * 1.001);
}

const powers = { splits: decades, incrs: [1e308], filter: (u, ticks) => ticks };

/** The ticks of an axis that is not over hyperiterations: where it is logarithmic and there are few values, at these. */
function marked({ logarithmic }, lines) {
  const values = (u, ticks) => ticks.map((tick) => (tick === null ? "" : number(tick)));
  const found = [...new Set(lines.flatMap(({ step }) => step))].sort((a, b) => a - b);
  return logarithmic ? { ...powers, values, ...(found.length <= MOST_TICKS && { splits: () => found }) } : { values };
}

/** The range of an axis that is not logarithmic: with thresholds in sight where these are near. */
function roomy(least, greatest, thresholds) {
  if (least === null) return [0, 1];
  const span = greatest - least || Math.abs(greatest) || 1;
  const near = thresholds.filter((limit) => limit > least - span && limit < greatest + span);
  const low = Math.min(least, ...near), high = Math.max(greatest, ...near);
  const finest = 1e-12 * Math.max(Math.abs(low), Math.abs(high)); // numbers that differ by less have no ticks between them
  const half = Math.max((high - low) / 2, finest) || span / 2;
  const middle = low / 2 + high / 2;
  return [middle - 1.12 * half, middle + 1.12 * half];
}

/** The width of the axis: that of its longest number. */
function fit(u, values) {
  const longest = Math.max(0, ...(values ?? []).map((value) => value.length));
  return Math.max(36, 14 + 6.4 * longest);
}

/** What has no line: thresholds across, a cross for a value that is not finite, where another attempt went on. */
function marks(u, lines, thresholds, ink) {
  const { ctx, bbox } = u;
  const ratio = devicePixelRatio;
  const [left, right] = [bbox.left, bbox.left + bbox.width];
  const across = (x) => Math.round(u.valToPos(x, "x", true));
  const inside = (x) => x >= left && x <= right;
  ctx.save();
  ctx.lineWidth = ratio;
  for (const limit of thresholds) {
    const y = Math.round(u.valToPos(limit, "y", true));
    if (!(y >= bbox.top && y <= bbox.top + bbox.height)) continue;
    ctx.strokeStyle = ctx.fillStyle = ink.alarm;
    ctx.setLineDash([4 * ratio, 3 * ratio]);
    stroke(ctx, [left, y], [right, y]);
    ctx.font = `${10 * ratio}px system-ui, sans-serif`;
    ctx.textAlign = "right";
    ctx.fillText("threshold", right - 2 * ratio, y > bbox.top + 14 * ratio ? y - 3 * ratio : y + 11 * ratio);
  }
  ctx.setLineDash([2 * ratio, 3 * ratio]);
  ctx.strokeStyle = ink.faint;
  for (const step of new Set(lines.flatMap(seams))) {
    if (inside(across(step))) stroke(ctx, [across(step), bbox.top], [across(step), bbox.top + bbox.height]);
  }
  ctx.setLineDash([]);
  ctx.strokeStyle = ink.alarm;
  for (const line of lines) {
    line.value.forEach((value, place) => {
      const x = Number.isFinite(value) ? NaN : across(line.step[place]);
      if (!inside(x)) return;
      const y = bbox.top + 6 * ratio, size = 3 * ratio;
      stroke(ctx, [x - size, y - size], [x + size, y + size]);
      stroke(ctx, [x - size, y + size], [x + size, y - size]);
    });
  }
  ctx.restore();
}

function stroke(ctx, from, end) {
  ctx.beginPath();
  ctx.moveTo(...from);
  ctx.lineTo(...end);
  ctx.stroke();
}

/** Hyperiterations at which another attempt went on. */
function seams({ step, attempt }) {
  return attempt ? step.filter((_, place) => place && attempt[place] > attempt[place - 1]) : [];
}

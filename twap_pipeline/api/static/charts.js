// Draws charts as SVG. Floats are used only here, for positions. Each chart has a text alternative; the figures are in tables.

import { makeSvg } from "./elements.js";
import { compact, price as priceText } from "./format.js";

const WIDTH = 720;
const MARGIN = { left: 64, right: 12, top: 22, bottom: 26 };

function drawing(height, label, children) {
  return makeSvg("svg", { viewBox: `0 0 ${WIDTH} ${height}`, role: "img", "aria-label": label, class: "chart" }, ...children);
}

const text = (x, y, content, anchor = "middle", kind = null) => makeSvg("text", { x, y, "text-anchor": anchor, class: kind }, content);
const line = (x1, y1, x2, y2, kind) => makeSvg("line", { x1, y1, x2, y2, class: kind });
const tooltip = (content) => makeSvg("title", {}, content);

/** Return about four round values from low to high, both included in their range. */
export function ticks(low, high) {
  const span = high - low || 1;
  const power = 10 ** Math.floor(Math.log10(span / 4));
  const step = [1, 2, 5, 10].map((factor) => factor * power).find((candidate) => span / candidate <= 4.5);
  const values = [];
  for (let value = Math.ceil(low / step) * step; value <= high + step / 1e6; value += step) values.push(value);
  return values;
}

function valueAxis(low, high, height, describe = compact) {
  const y = (value) => MARGIN.top + ((high - value) / (high - low || 1)) * (height - MARGIN.top - MARGIN.bottom);
  const marks = ticks(low, high).map((value) => [
    line(MARGIN.left, y(value), WIDTH - MARGIN.right, y(value), value ? "grid" : "axis"),
    text(MARGIN.left - 6, y(value) + 4, describe(value), "end"),
  ]);
  return { y, marks };
}

/** Label about six of the columns, on narrow screens three; x is the function of a column's middle. */
function columnLabels(labels, x, height) {
  const every = Math.ceil(labels.length / 6);
  return labels.map((label, index) => (index % every ? null : text(x(index), height - 8, label, "middle", index % (2 * every) ? "wide-only" : null)));
}

/**
 * Columns over time; values of one column are stacked.
 *
 * @param columns [{label, tip, parts: [[class, value], …]}]; negative values extend below zero.
 * @param label The text alternative.
 */
export function columnChart(columns, label) {
  const height = 220;
  const sum = (column, sign) => column.parts.reduce((total, [, value]) => total + Math.max(0, sign * value), 0);
  const high = Math.max(...columns.map((column) => sum(column, 1)), 0);
  const low = -Math.max(...columns.map((column) => sum(column, -1)), 0);
  const { y, marks } = valueAxis(low, high || 1, height);
  const step = (WIDTH - MARGIN.left - MARGIN.right) / columns.length;
  const x = (index) => MARGIN.left + step * (index + 0.5);
  const bars = columns.map((column, index) => {
    const reached = { 1: 0, [-1]: 0 };
    const rects = column.parts.filter(([, value]) => value).map(([kind, value]) => {
      const sign = Math.sign(value);
      const from = reached[sign];
      reached[sign] += value;
      const [top, bottom] = [Math.max(from, reached[sign]), Math.min(from, reached[sign])];
      const width = Math.max(1, step * 0.78);
      return makeSvg("rect", { x: x(index) - width / 2, y: y(top), width, height: Math.max(0.5, y(bottom) - y(top)), class: kind });
    });
    return makeSvg("g", {}, tooltip(column.tip), ...rects);
  });
  return drawing(height, label, [...marks.flat(), ...bars, line(MARGIN.left, y(0), WIDTH - MARGIN.right, y(0), "axis"), ...columnLabels(columns.map((column) => column.label), x, height)]);
}

/** A bar for a cell of a table, from zero, or from the middle if `signed`; max is the largest absolute value. */
export function cellBar(value, max, { kind = "", signed = false } = {}) {
  const part = max ? Math.abs(value) / max : 0;
  const width = part * (signed ? 50 : 100);
  const x = signed ? (value < 0 ? 50 - width : 50) : 0;
  return makeSvg("svg", { viewBox: "0 0 100 10", preserveAspectRatio: "none", class: "cell-bar", "aria-hidden": "true" },
    makeSvg("rect", { x, y: 1, width, height: 8, class: kind }), signed ? line(50, 0, 50, 10, "axis") : null);
}

const axisPrice = (value) => priceText(value.toFixed(10));
const POINTS_MAX = 800;

/** Keep at most POINTS_MAX evenly spaced items, and the last one. */
function thinned(items) {
  const every = Math.ceil(items.length / POINTS_MAX);
  return items.filter((_, index) => index % every === 0 || index === items.length - 1);
}

function timeAxis(first, last, height) {
  const x = (time) => MARGIN.left + ((time - first) / (last - first)) * (WIDTH - MARGIN.left - MARGIN.right - 10);
  const day = (time) => new Date(time).toISOString().slice(5, 16).replace("T", " ");
  const middle = (first + last) / 2;
  const marks = [text(x(first), height - 8, day(first), "start"), text(x(middle), height - 8, day(middle)), text(x(last), height - 8, day(last), "end")];
  return { x, marks };
}

/**
 * The life of an order: planned execution as a line from start to expected end, its events, and the size of its slices.
 *
 * @param life {start, expectedEnd: milliseconds or null, requested: number, events: [{time, executed, status, tip}],
 *   slices: [{time, executed}], where executed is the sum up to the slice}.
 * @param label The text alternative.
 */
export function lifeChart({ start, expectedEnd, events, requested, slices }, label) {
  const height = 260;
  const times = [start, expectedEnd, ...events.map((event) => event.time), slices[0]?.time, slices.at(-1)?.time].filter((time) => time !== null && time !== undefined);
  const first = Math.min(...times);
  const last = Math.max(...times, first + 60_000);
  const high = Math.max(requested, ...events.map((event) => event.executed), slices.at(-1)?.executed ?? 0) || 1;
  const { x, marks: timeMarks } = timeAxis(first, last, height);
  const { y, marks } = valueAxis(0, high, height);
  const parts = [...marks.flat()];
  if (requested) parts.push(line(MARGIN.left, y(requested), WIDTH - MARGIN.right, y(requested), "goal"), text(MARGIN.left + 6, y(requested) - 5, "requested", "start"));
  if (start !== null && expectedEnd !== null && requested) {
    parts.push(makeSvg("path", { d: `M${x(start)},${y(0)} L${x(expectedEnd)},${y(requested)}`, class: "planned" }));
  }
  if (slices.length) {
    const steps = thinned(slices).map((slice) => `H${x(slice.time)} V${y(slice.executed)}`);
    parts.push(makeSvg("path", { d: `M${x(start ?? slices[0].time)},${y(0)} ${steps.join(" ")}`, class: "progress" }));
  }
  for (const event of events) {
    parts.push(line(x(event.time), y(0), x(event.time), y(event.executed), `stem ${event.status}`));
    parts.push(makeSvg("circle", { cx: x(event.time), cy: y(event.executed), r: 6, class: `event ${event.status}` }, tooltip(event.tip)));
  }
  return drawing(height, label, [...parts, ...timeMarks]);
}

/**
 * The prices of slices as dots, and their average as a line.
 *
 * @param slices [{time, price, tip}], in order.
 * @param average A number, or null.
 * @param label The text alternative.
 */
export function priceChart(slices, average, label) {
  const height = 180;
  const prices = slices.map((slice) => slice.price).concat(average ?? []);
  const [lowest, highest] = prices.reduce(([low, high], price) => [Math.min(low, price), Math.max(high, price)], [Infinity, -Infinity]);
  const space = (highest - lowest) * 0.1 || highest * 0.001 || 1;
  const { x, marks: timeMarks } = timeAxis(slices[0].time, Math.max(slices.at(-1).time, slices[0].time + 60_000), height);
  const { y, marks } = valueAxis(lowest - space, highest + space, height, axisPrice);
  const dots = thinned(slices).map((slice) => makeSvg("circle", { cx: x(slice.time), cy: y(slice.price), r: 3, class: "price" }, tooltip(slice.tip)));
  const middle = average === null ? [] : [line(MARGIN.left, y(average), WIDTH - MARGIN.right, y(average), "goal"), text(MARGIN.left + 6, y(average) - 5, "average", "start")];
  return drawing(height, label, [...marks.flat(), ...middle, ...dots, ...timeMarks]);
}

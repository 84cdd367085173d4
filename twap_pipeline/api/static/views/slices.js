// The slices of an order: whether they add up to its totals, fees and profit, prices as a picture, and a table.

import { priceChart } from "../charts.js";
import { count, figures, hint, make, secondTime, side, table } from "../elements.js";
import { price, second, size, usd } from "../format.js";

const ROWS_SHOWN = 20;

/** State of the reconciliation → [short name, description]. */
export const STATES = {
  reconciled: ["reconciled", "The slices add up to the executed size and notional of the order."],
  running: ["running", "The order has not ended. Slices are published on the next day."],
  fills_not_loaded: ["fills not loaded", "The fills of a day of the order are not loaded, so that slices are missing."],
  missing_fills: ["missing slices", "Slices are missing: they add up to less than the order executed."],
  surplus_fills: ["surplus slices", "The slices add up to more than the order executed."],
  different_notional: ["different notional", "The sizes agree, but price times size does not add up to the executed notional."],
  unknown_totals: ["unknown totals", "The data do not contain the executed totals of the order."],
  no_order: ["no order", "The data do not contain the order of these slices."],
};

/** Whether a state needs attention. */
export const isDoubtful = (state) => !["reconciled", "running"].includes(state);

const COLUMNS = [
  ["Time", (fill) => secondTime(fill.ts)],
  ["Side", (fill) => side(fill.side)],
  ["Direction", (fill) => fill.direction ?? "–"],
  ["Price", (fill) => price(fill.price), "number"],
  ["Size", (fill) => size(fill.size), "number"],
  ["USD", (fill) => usd(fill.notional), "number"],
  ["Fee", (fill) => amount(fill.fee, fill.fee_token), "number"],
  ["Realized profit", (fill) => size(fill.realized_pnl), "number"],
  ["Trade", (fill) => make("span", { class: "mono" }, fill.trade_id)],
];

export const amount = (number, token) => (number === null || number === undefined ? "–" : `${size(number)} ${token ?? ""}`.trim());

/** Return the executed size after each slice, for a picture. */
export function progress(fills) {
  let executed = 0;
  return fills.map((fill) => ({ time: Date.parse(fill.ts), executed: (executed += Number(fill.size)) }));
}

/** Return the parts of an order's view; `order.fills` is null if no fills are loaded, and missing without the order. */
export function sliceParts(order, { items, isComplete }) {
  const totals = order.fills ?? null;
  const heading = make("h3", {}, "Slices");
  if (!totals && !items.length) return [heading, hint("No fills are loaded: fees, realized profit and slices are not known.")];
  return [
    heading,
    ...(totals ? summary(totals) : []),
    ...(items.length ? [prices(items, totals), ...sliceTable(items)] : []),
    isComplete ? null : hint(`The first ${count(items.length)} slices are shown; the API has the others.`),
  ].filter(Boolean);
}

function summary(totals) {
  const [name, description] = STATES[totals.reconciliation];
  return [
    make("p", {}, make("strong", { class: isDoubtful(totals.reconciliation) ? "doubt" : "finished" }, name), ` ${description}`),
    figures([
      ["Slices", count(totals.fill_count)],
      ["Size of the slices", size(totals.size_filled)],
      ["Average price", price(totals.average_price)],
      ["Fees", amount(totals.fee, totals.fee_token)],
      ["Realized profit", size(totals.realized_pnl)],
    ]),
  ];
}

function prices(items, totals) {
  const points = items.map((fill) => ({ time: Date.parse(fill.ts), price: Number(fill.price), tip: `${second(fill.ts)}: ${size(fill.size)} at ${price(fill.price)}` }));
  const label = `Prices of the slices: first ${price(items[0].price)}, last ${price(items.at(-1).price)}, average ${price(totals?.average_price)}`;
  return priceChart(points, totals?.average_price ? Number(totals.average_price) : null, label);
}

/** A table of the first slices, with a button that adds more. */
function sliceTable(items) {
  const list = table("Slices, oldest first", COLUMNS, items.slice(0, ROWS_SHOWN));
  let shown = ROWS_SHOWN;
  if (items.length <= shown) return [list];
  const button = make("button", { type: "button" }, "More slices");
  button.addEventListener("click", () => {
    const rows = table("", COLUMNS, items.slice(shown, shown + ROWS_SHOWN)).querySelectorAll("tbody tr");
    list.querySelector("tbody").append(...rows);
    shown += ROWS_SHOWN;
    if (shown >= items.length) {
      button.remove();
      list.focus();
    }
  });
  return [list, make("p", { class: "actions" }, button)];
}

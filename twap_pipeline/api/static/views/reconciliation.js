// The orders in a state of the reconciliation, and the number of orders per state.

import { assetName, choices, count, hint, make, minuteTime, orderLink, section, table, walletLink } from "../elements.js";
import { day, size, usd } from "../format.js";
import { getJson } from "../requests.js";
import { dataUntil } from "./data_until.js";
import { pagedTable } from "./orders_table.js";
import { isDoubtful, STATES } from "./slices.js";

const DAY = 86_400_000;
const DAYS = 31;
const PAGE_SIZE = 50;

const COLUMNS = [
  ["Order", (row) => orderLink(row.twap_id)],
  ["Wallet", (row) => walletLink(row.wallet)],
  ["Asset", assetName],
  ["Last event", (row) => minuteTime(row.at)],
  ["Slices", (row) => count(row.fill_count), "number"],
  ["Executed", (row) => size(row.size_executed), "number"],
  ["In slices", (row) => size(row.size_filled), "number"],
  ["USD", (row) => usd(row.notional_executed), "number"],
  ["USD in slices", (row) => usd(row.notional_filled), "number"],
];

/** Return the last 31 days of the data as {start, end}, or null without data. */
export async function reconciledRange() {
  const until = await dataUntil();
  if (until === null) return null;
  const end = new Date(Math.floor(until / DAY) * DAY + DAY);
  return { start: day(new Date(end.getTime() - DAYS * DAY)), end: day(end) };
}

const link = (state, { start, end }) => `#reconciliation/${state}/${start}/${end}`;

/** Return the part of the data coverage: the states of the range's orders, each a link to the orders. */
export async function reconciliationPart(range) {
  const body = await getJson("/reconciliation", range);
  const states = Object.entries(body.states).filter(([, number]) => number);
  if (!body.has_fills) return [hint("No fills are loaded: slices, fees and realized profit are not known.")];
  return [
    table(`Orders with their last event from ${range.start} to before ${range.end}`, [
      ["State", ([state]) => make("a", { href: link(state, range), class: isDoubtful(state) ? "doubt" : null }, STATES[state][0])],
      ["Orders", ([, number]) => count(number), "number"],
      ["Meaning", ([state]) => STATES[state][1], "text"],
    ], states),
  ];
}

export async function reconciliationView(state = "missing_fills", start = "", end = "") {
  const range = start && end ? { start, end } : await reconciledRange();
  if (range === null) return [section("Reconciliation", hint("The database contains no events yet."))];
  const parameters = { state, ...range, limit: PAGE_SIZE };
  const page = await getJson("/reconciliation/orders", parameters);
  return [section(
    `Reconciliation: ${STATES[state][0]}`,
    choices("State", Object.entries(STATES).map(([name, [text]]) => [text, link(name, range), name === state])),
    make("p", {}, STATES[state][1], ` Last event from ${range.start} to before ${range.end}.`),
    ...(page.orders.length ? pagedTable("Earliest first", COLUMNS, "/reconciliation/orders", page, parameters) : [hint("No order has this state.")]),
  )];
}

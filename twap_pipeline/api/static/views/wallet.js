// A wallet: totals, a calendar of each year, downloads, and its orders.

import { assetName, choices, count, figures, hint, make, minuteTime, section, side, table } from "../elements.js";
import { day, price, size, usd } from "../format.js";
import { apiKey, apiUrl, getJson, request } from "../requests.js";
import { monthCards } from "./calendar.js";
import { pagedOrders } from "./orders_table.js";
import { amount } from "./slices.js";

const PAGE_SIZE = 50;
const DAY = 86_400_000;

const ORDER_FORMATS = ["csv", "parquet"];
const FILL_FORMATS = ["fills-csv", "fills-parquet"];
const TAX_FORMATS = ["awaken", "koinly", "cointracker", "coinledger", "zenledger", "summ", "coinpanda"];
/** Download formats. A test holds them against the API's. */
export const FORMATS = [...ORDER_FORMATS, ...FILL_FORMATS, ...TAX_FORMATS];
/** Tax formats that can contain perpetuals. A test holds them against the API's. */
const PERPETUAL_FORMATS = ["awaken", "koinly", "cointracker", "zenledger", "summ"];

const TOTALS = [
  ["Asset", assetName],
  ["Side", (row) => side(row.side)],
  ["Orders", (row) => count(row.order_count), "number"],
  ["Finished", (row) => count(row.finished), "number"],
  ["Underfilled", (row) => count(row.underfilled_order_count), "number"],
  ["Executed", (row) => size(row.size_executed), "number"],
  ["USD", (row) => usd(row.notional_executed), "number"],
  ["Average price", (row) => price(row.average_price), "number"],
];

const FILLS = [
  ["Asset", assetName],
  ["Slices", (row) => count(row.fill_count), "number"],
  ["USD", (row) => usd(row.notional_filled), "number"],
  ["Fees", (row) => amount(row.fee, row.fee_token), "number"],
  ["Realized profit", (row) => size(row.realized_pnl), "number"],
];

export async function walletView(wallet, start = "", end = "") {
  const range = { start, end };
  const parameters = { wallet, time_field: "updated", limit: PAGE_SIZE, ...range };
  const [summary, page, whole] = await Promise.all([
    getJson(`/wallets/${wallet}/summary`, range),
    getJson("/orders", parameters),
    start || end ? getJson(`/wallets/${wallet}/summary`) : null,
  ]);
  const heading = make("h2", {}, "Wallet ", make("span", { class: "mono" }, summary.wallet));
  const years = yearChoices(wallet, whole ?? summary, start, end);
  if (!summary.order_count) return [make("section", {}, heading, years, hint(unknown(whole ?? summary, start || end)))];
  return [
    make(
      "section",
      {},
      heading,
      years,
      figures([
        ["Orders", count(summary.order_count)],
        ["Executed, USD", usd(summary.notional_executed)],
        ["First order", minuteTime(summary.first_order_at)],
        ["Last event", minuteTime(summary.last_event_at)],
      ]),
      table("Totals by asset and side; sizes in coin units", TOTALS, summary.by_asset),
    ),
    section("Fees and realized profit", ...feesPart(summary)),
    section("Download", ...downloads(wallet, range)),
    section("Calendar", calendar(wallet, range, summary)),
    section("Orders", ...pagedOrders("Newest first", page, parameters)),
  ];
}

const unknown = (whole, hasRange) => (hasRange && whole.order_count
  ? "The data contain no order of this wallet in these days. Choose another year above."
  : "The data contain no order of this wallet. Data coverage shows the days that are loaded.");

function feesPart({ fills_by_asset: rows }) {
  if (rows === null) return [hint("No fills are loaded: fees and realized profit are not known.")];
  if (!rows.length) return [hint("The data contain no fill of this wallet in this range.")];
  return [table("By asset and token of the fee; of the slices in the range", FILLS, rows)];
}

function yearChoices(wallet, summary, start, end) {
  if (!summary.order_count) return null;
  const [first, last] = [summary.first_order_at, summary.last_event_at].map((time) => Number(time.slice(0, 4)));
  const years = Array.from({ length: last - first + 1 }, (_, index) => last - index);
  const links = years.map((year) => [String(year), `#wallet/${wallet}/${year}-01-01/${year + 1}-01-01`, start === `${year}-01-01` && end === `${year + 1}-01-01`]);
  return choices("Year", [["all", `#wallet/${wallet}`, !start && !end], ...links]);
}

export function downloads(wallet, range) {
  const perpetuals = { ...range, market: "perp" };
  const path = (format) => `/wallets/${wallet}/exports/${format}`;
  const file = (format) => download(path(format), range, format);
  const taxFile = (format, parameters, label) => [
    download(path(format), parameters, label),
    download(`${path(format)}/statement`, parameters, `${label} statement`, `twap-statement-${wallet}-${label.replace(" ", "-")}.json`),
  ];
  const row = (links, text) => make("p", { class: "actions" }, links, make("span", { class: "hint" }, text));
  return [
    row(ORDER_FORMATS.map(file), "one row per order, all columns"),
    row(FILL_FORMATS.map(file), "one row per slice, with fees and realized profit"),
    row(TAX_FORMATS.flatMap((format) => taxFile(format, range, format)), "for tax tools; spot trades, with fees if the fills are loaded"),
    row(PERPETUAL_FORMATS.flatMap((format) => taxFile(format, perpetuals, `${format} perpetuals`)), "for tax tools; profit and fees, if the fills are loaded"),
    hint("A statement lists which orders of a tax file reconcile with their fills, which are missing, and the sums of the fees."),
  ];
}

/** A download link. With an API key, the script fetches the file, because a link cannot send a header. */
function download(path, parameters, label, fileName = "") {
  const link = make("a", { href: apiUrl(path, parameters), download: fileName }, label);
  link.addEventListener("click", async (event) => {
    if (!apiKey()) return;
    event.preventDefault();
    const response = await request(path, parameters);
    const name = /filename="([^"]+)"/.exec(response.headers.get("Content-Disposition") ?? "")?.[1] ?? fileName;
    const file = URL.createObjectURL(await response.blob());
    make("a", { href: file, download: name }).click();
    URL.revokeObjectURL(file);
  });
  return link;
}

/** Orders by day of their last event, of the last year of the range. */
function calendar(wallet, range, summary) {
  const last = range.end ? new Date(Date.parse(range.end) - 1) : new Date(summary.last_event_at);
  const end = new Date(Date.UTC(last.getUTCFullYear(), last.getUTCMonth() + 1, 1));
  const first = [range.start, summary.by_day[0].day, day(new Date(end.getTime() - 366 * DAY))].filter(Boolean).sort().at(-1);
  const totals = new Map(summary.by_day.map((row) => [row.day, row]));
  const days = [];
  for (let time = Date.parse(`${first.slice(0, 8)}01`); time < end.getTime(); time += DAY) days.push(day(new Date(time)));
  const highest = Math.max(...days.map((date) => totals.get(date)?.order_count ?? 0));
  const cell = (date) => {
    const number = totals.get(date)?.order_count ?? 0;
    const executed = number ? `, ${usd(totals.get(date).notional_executed)} USD` : "";
    const label = `${date}: ${count(number)} order${number === 1 ? "" : "s"}${executed}`;
    const kind = number ? `level-${Math.min(3, 1 + Math.floor((3 * number) / (highest + 1)))}` : "";
    return number
      ? make("a", { href: `#wallet/${wallet}/${date}/${day(new Date(Date.parse(date) + DAY))}`, class: kind, title: label, "aria-label": label }, String(Number(date.slice(8))))
      : make("span", { title: label }, String(Number(date.slice(8))));
  };
  return monthCards(days.map((date) => [date, cell(date)]));
}

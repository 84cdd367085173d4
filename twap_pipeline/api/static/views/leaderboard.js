// Wallets by executed notional of the orders that ended in a range.

import { cellBar } from "../charts.js";
import { choices, count, hint, make, section, table, walletLink } from "../elements.js";
import { day, size, usd } from "../format.js";
import { getJson } from "../requests.js";
import { dataUntil } from "./data_until.js";
import { amount } from "./slices.js";

const RANGES = [["1 day", "1"], ["7 days", "7"], ["30 days", "30"], ["90 days", "90"], ["1 year", "365"]];
const MARKETS = [["all markets", ""], ["perpetuals", "perp"], ["spot", "spot"]];
const DAY = 86_400_000;
const FILLS_DAYS_MAX = 30; // the fills of all ranked wallets are read

/** The range of so many days up to the latest event, as parameters of the API. */
export function lastDays(until, days) {
  return { start: new Date(until - days * DAY).toISOString(), end: new Date(until + 1).toISOString() };
}

const FILLS = [
  ["Fees", (row) => lines(row.fills, (total) => amount(total.fee, total.fee_token)), "number"],
  ["Realized profit", (row) => lines(row.fills, (total) => size(total.realized_pnl)), "number"],
];

/** One line per token of the fees. */
const lines = (totals, content) => totals.flatMap((total, index) => (index ? [make("br"), content(total)] : [content(total)]));

export function rankTable(caption, wallets, start, end) {
  const highest = Math.max(...wallets.map((row) => Number(row.notional_executed)));
  return table(caption, [
    ["Rank", (row) => String(wallets.indexOf(row) + 1), "number"],
    ["Wallet", (row) => walletLink(row.wallet, start, end)],
    ["Orders", (row) => count(row.order_count), "number"],
    ["USD", (row) => usd(row.notional_executed), "number"],
    ["Share of the first", (row) => cellBar(Number(row.notional_executed), highest)],
    ...(wallets.some((row) => row.fills) ? FILLS : []),
  ], wallets);
}

export async function leaderboardView(days = "7", market = "") {
  const until = await dataUntil();
  if (until === null) return [section("Leaderboard", hint("The database contains no events yet."))];
  const range = lastDays(until, Number(days) || 7);
  const include = Number(days) <= FILLS_DAYS_MAX ? "fills" : "";
  const body = await getJson("/leaderboard", { ...range, market, include, limit: 100 });
  const dates = [body.start, body.end].map((time) => time.slice(0, 10));
  return [section(
    "Leaderboard",
    choices("Range", RANGES.map(([text, value]) => [text, `#leaderboard/${value}/${market}`, value === days])),
    choices("Market", MARKETS.map(([text, value]) => [text, `#leaderboard/${days}/${value}`, value === market])),
    body.wallets.length
      ? rankTable(`Wallets by executed notional of orders that ended from ${dates[0]} to ${dates[1]}`, body.wallets, dates[0], day(new Date(until + DAY)))
      : hint("No order ended in this range."),
    hint(`Executed notional in USD, without fees. Fees and realized profit of fills in the range are shown for at most ${FILLS_DAYS_MAX} days. The range ends at the latest event in the data.`),
  )];
}


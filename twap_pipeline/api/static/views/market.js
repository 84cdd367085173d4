// The market: executed notional by day and asset, estimated pressure, the largest orders and wallets.

import { cellBar, columnChart } from "../charts.js";
import { choices, count, figures, hint, make, section, table } from "../elements.js";
import { compact, day, estimatedSize, grouped, minute, sumDecimals, usd } from "../format.js";
import { getJson, getPages } from "../requests.js";
import { dataUntil } from "./data_until.js";
import { lastDays, rankTable } from "./leaderboard.js";
import { ordersTable } from "./orders_table.js";

const DAY = 86_400_000;
const RANGES = [["7 days", "7"], ["30 days", "30"], ["90 days", "90"]];
const HORIZON = 60;
const LARGEST = 10;

export async function marketView(days = "7", chosen = "") {
  const until = await dataUntil();
  if (until === null) return [emptyDatabase()];
  const count_ = Number(days) || 7;
  const first = new Date(until - (count_ - 1) * DAY);
  const [stats, pressure] = await Promise.all([
    getPages("/stats/daily", "days", { start: day(first), end: day(new Date(until + DAY)), limit: 1000 }),
    getJson("/pressure", { horizon: HORIZON }),
  ]);
  const assets = byAsset(stats.items);
  const asset = chosen || assets[0]?.asset || "";
  return [
    section("Executed notional", choices("Range", RANGES.map(([text, value]) => [text, `#market/${value}/${encodeURIComponent(chosen)}`, value === days])), ...volume(stats, first, count_, days, assets)),
    section("Net pressure, estimated", ...pressureNow(pressure, days, asset), ...(asset ? await pressureByHour(asset, until) : [])),
    section(`Largest orders that ended in the last 24 hours`, await largestOrders(until)),
    section("Leaderboard", await ranks(until, count_), make("p", {}, make("a", { href: `#leaderboard/${days}` }, "All ranks"))),
  ];
}

function emptyDatabase() {
  return section(
    "No data yet",
    make("p", {}, "The database contains no events. Load them, then reload this page:"),
    make("pre", {}, "twap-pipeline ingest"),
    hint("Without a bucket: `python3 start.py demo` loads sample data."),
  );
}

/** Return the totals per asset, the largest notional first. */
function byAsset(rows) {
  const groups = Object.entries(Object.groupBy(rows, (row) => row.asset ?? "–"));
  const totals = groups.map(([asset, list]) => ({
    asset,
    symbol: list[0].symbol,
    orders: list.reduce((total, row) => total + row.order_count, 0),
    notional: sumDecimals(list.map((row) => row.notional_executed)),
    buys: Number(sumDecimals(list.filter((row) => row.side === "B").map((row) => row.notional_executed))),
  }));
  return totals.sort((one, other) => Number(other.notional) - Number(one.notional));
}

function volume({ items, isComplete }, first, count_, days, assets) {
  const dates = Array.from({ length: count_ }, (_, index) => day(new Date(first.getTime() + index * DAY)));
  const sums = Object.groupBy(items, (row) => row.day);
  const part = (date, letter) => Number(sumDecimals((sums[date] ?? []).filter((row) => row.side === letter).map((row) => row.notional_executed)));
  const columns = dates.map((date) => {
    const [buy, sell] = [part(date, "B"), part(date, "A")];
    return { label: date.slice(5), tip: `${date}: bought ${compact(buy)} USD, sold ${compact(sell)} USD`, parts: [["buy", buy], ["sell", sell]] };
  });
  const highest = Number(assets[0]?.notional ?? 0);
  const columnsOfAssets = [
    ["Asset", (row) => make("a", { href: `#market/${days}/${encodeURIComponent(row.asset)}` }, row.symbol ?? row.asset)],
    ["Orders", (row) => count(row.orders), "number"],
    ["USD", (row) => usd(row.notional), "number"],
    ["Bought", (row) => `${Number(row.notional) ? Math.round((100 * row.buys) / Number(row.notional)) : 0} %`, "number"],
    ["", (row) => cellBar(Number(row.notional), highest)],
  ];
  return [
    figures([
      ["Executed, USD", usd(sumDecimals(assets.map((row) => row.notional)))],
      ["Orders", count(assets.reduce((total, row) => total + row.orders, 0))],
      ["Assets", count(assets.length)],
    ]),
    columnChart(columns, `Executed notional by day of the orders' start: ${columns.map((column) => column.tip).join("; ")}`),
    make("ul", { class: "legend" }, make("li", { class: "buy" }, "■ bought"), make("li", { class: "sell" }, "■ sold")),
    table("Assets by executed notional, orders by day of their start", columnsOfAssets, assets.slice(0, 12)),
    assets.length > 12 ? make("details", {}, make("summary", {}, `${assets.length - 12} more assets`), table("More assets", columnsOfAssets, assets.slice(12))) : null,
    isComplete ? null : hint("Not all rows of the range were read: choose a shorter range."),
  ].filter(Boolean);
}

function pressureNow({ assets }, days, asset) {
  const net = (row) => Number(row.horizons[0].estimate_net_notional ?? 0);
  const rows = assets.filter((row) => row.horizons[0].estimate_net_notional !== null).sort((one, other) => Math.abs(net(other)) - Math.abs(net(one))).slice(0, 12);
  if (!rows.length) return [hint("No active order whose asset has a price.")];
  const highest = Math.abs(net(rows[0]));
  return [
    table(`Volume that active orders would execute within ${HORIZON} minutes, if each executed evenly; buys positive`, [
      ["Asset", (row) => make("a", { href: `#market/${days}/${encodeURIComponent(row.asset)}`, "aria-current": row.asset === asset ? "true" : null }, row.symbol ?? row.asset)],
      ["Orders", (row) => count(row.order_count), "number"],
      ["Net size", (row) => estimatedSize(row.horizons[0].estimate_net_size), "number"],
      ["Net USD", (row) => usd(row.horizons[0].estimate_net_notional), "number"],
      ["Sells | buys", (row) => cellBar(net(row), highest, { signed: true, kind: net(row) < 0 ? "sell" : "buy" })],
    ], rows),
  ];
}

async function pressureByHour(asset, until) {
  const body = await getJson("/pressure/history", { asset, horizon: HORIZON, ...lastDays(until, 3) });
  const columns = body.hours.map((row) => ({
    label: minute(row.hour).slice(5),
    tip: `${minute(row.hour)}: net ${estimatedSize(row.estimate_net_size)} of ${row.order_count} orders`,
    parts: [["buy", Number(row.estimate_buy_size)], ["sell", -Number(row.estimate_sell_size)]],
  }));
  const sizes = body.hours.map((row) => Number(row.estimate_net_size));
  const label = `Estimated pressure of ${asset} by hour in the last three days: net size from ${grouped(Math.min(...sizes))} to ${grouped(Math.max(...sizes))}`;
  return [make("h3", {}, `${asset}: pressure by hour, in coin units`), columnChart(columns, label), hint("Computed from the history as it is now: each order is assumed to execute evenly from its start until it ended.")];
}

async function largestOrders(until) {
  const body = await getJson("/orders", { ...lastDays(until, 1), time_field: "ended", sort: "notional", limit: LARGEST });
  return body.orders.length ? ordersTable("By executed notional", body.orders) : hint("No order ended.");
}

async function ranks(until, days) {
  const range = lastDays(until, days);
  const { wallets } = await getJson("/leaderboard", { ...range, limit: LARGEST });
  return wallets.length ? rankTable("By executed notional in the chosen range", wallets, range.start.slice(0, 10), day(new Date(until + DAY))) : hint("No order ended.");
}

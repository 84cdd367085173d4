// Orders without a terminal event: active ones by expected end, and stale ones.

import { cellBar } from "../charts.js";
import { assetName, count, hint, make, minuteTime, orderLink, remaining, section, side, status, table, walletLink } from "../elements.js";
import { duration, size } from "../format.js";
import { getJson } from "../requests.js";

const LIMIT = 100;

function columns(now) {
  const left = (order) => (order.expected_end ? (Date.parse(order.expected_end) - now) / 60_000 : null);
  const done = (order) => (order.expected_end && order.duration_minutes ? 1 - left(order) / order.duration_minutes : 0);
  return [
    ["Order", (order) => orderLink(order.twap_id)],
    ["Wallet", (order) => walletLink(order.wallet)],
    ["Asset", assetName],
    ["Side", (order) => side(order.side)],
    ["Status", (order) => status(order.status)],
    ["Size", (order) => size(order.size_requested), "number"],
    ["Remaining (estimate)", remaining, "number"],
    ["Expected end", (order) => minuteTime(order.expected_end)],
    ["Left", (order) => (left(order) === null ? "–" : left(order) > 0 ? duration(left(order)) : "due"), "number"],
    ["Time elapsed", (order) => cellBar(Math.min(1, Math.max(0, done(order))), 1)],
  ];
}

export async function activeView() {
  const body = await getJson("/active", { limit: LIMIT });
  const list = columns(Date.parse(body.as_of));
  const parts = [make("p", {}, `${count(body.active_count)} active, ${count(body.stale_count)} stale. Latest event: `, minuteTime(body.data_until), ".")];
  if (body.active.length) parts.push(table("Active orders, by expected end", list, body.active));
  if (body.active_count > body.active.length) parts.push(hint(`The first ${body.active.length} are shown; the API has the others.`));
  if (body.stale.length) {
    const stale = table("Stale orders: the terminal event is late, lost, or outside the data", list, body.stale);
    parts.push(make("details", {}, make("summary", {}, `Stale: more than ${body.grace_minutes} minutes past the expected end`), stale));
  }
  parts.push(hint("Remaining sizes are estimates: each order is assumed to execute evenly over its duration."));
  return [section("Active orders", ...parts)];
}

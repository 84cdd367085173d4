// The table of orders, which several views show.

import { assetName, make, minuteTime, orderLink, side, status, table, walletLink } from "../elements.js";
import { duration, price, size, usd } from "../format.js";
import { getJson } from "../requests.js";

const WALLET = ["Wallet", (order) => walletLink(order.wallet)];
const COLUMNS = [
  ["Order", (order) => orderLink(order.twap_id)],
  ["Started", (order) => minuteTime(order.started_at)],
  ["Asset", assetName],
  ["Side", (order) => side(order.side)],
  ["Status", (order) => status(order.status)],
  ["Requested", (order) => size(order.size_requested), "number"],
  ["Executed", (order) => size(order.size_executed), "number"],
  ["USD", (order) => usd(order.notional_executed), "number"],
  ["Average price", (order) => price(order.average_price), "number"],
  ["Planned", (order) => duration(order.duration_minutes), "number"],
];

/** A table of orders of several wallets. */
export const ordersTable = (caption, orders) => table(caption, [COLUMNS[0], WALLET, ...COLUMNS.slice(1)], orders);

/** A table of orders with a button that adds the next page; `parameters` are those of the first page. */
export const pagedOrders = (caption, page, parameters) => pagedTable(caption, COLUMNS, "/orders", page, parameters);

/** A table of the `orders` of a page of the path, with a button that adds the next page. */
export function pagedTable(caption, columns, path, page, parameters) {
  const list = table(caption, columns, page.orders);
  if (!page.next_cursor) return [list];
  let cursor = page.next_cursor;
  const button = make("button", { type: "button" }, "More orders");
  button.addEventListener("click", async () => {
    button.disabled = true;
    const next = await getJson(path, { ...parameters, cursor });
    const rows = table("", columns, next.orders).querySelectorAll("tbody tr");
    list.querySelector("tbody").append(...rows);
    rows[0]?.querySelector("a").focus();
    cursor = next.next_cursor;
    button.disabled = false;
    if (!cursor) button.remove();
  });
  return [list, make("p", { class: "actions" }, button)];
}

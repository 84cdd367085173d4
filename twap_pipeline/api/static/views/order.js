// One order: its life and its slices as pictures, its figures, its events with their source rows, and its slices.

import { lifeChart } from "../charts.js";
import { assetName, figures, hint, make, minuteTime, secondTime, section, side, sideName, status, walletLink } from "../elements.js";
import { duration, price, second, size, usd } from "../format.js";
import { getJson, getPages } from "../requests.js";
import { progress, sliceParts } from "./slices.js";

const SLICE_PAGES = 5;

const milliseconds = (timestamp) => (timestamp ? Date.parse(timestamp) : null);

export async function orderView(id) {
  const [body, fills] = await Promise.all([getJson(`/orders/${id}`), getPages(`/orders/${id}/fills`, "fills", { limit: 1000 }, SLICE_PAGES)]);
  const orders = body.orders.length ? body.orders : [body.events.at(-1) ?? fills.items[0]];
  const of = (list, order) => list.filter((row) => row.wallet === order.wallet);
  const parts = orders.map((order) => orderPart(order, of(body.events, order), { ...fills, items: of(fills.items, order) }));
  const rest = body.next_cursor ? [hint(`The first ${body.events.length} events are shown; the API has the others.`)] : [];
  return [make("section", {}, make("h2", {}, "Order ", make("span", { class: "mono" }, id)), ...parts.flat(), ...rest)];
}

function orderPart(order, events, fills) {
  const expectedEnd = order.started_at && order.duration_minutes !== null ? milliseconds(order.started_at) + order.duration_minutes * 60_000 : null;
  return [
    make("p", { class: "lead" }, side(order.side), ` ${size(order.size_requested)} ${assetName(order)} over ${duration(order.duration_minutes)}, by `, walletLink(order.wallet), " ", status(order.status)),
    order.status_error ? make("p", { class: "error", role: "note" }, `The exchange's reason: ${order.status_error}`) : null,
    figures([
      ["Executed", `${size(order.size_executed)} of ${size(order.size_requested)}`],
      ["USD, without fees", usd(order.notional_executed)],
      ["Average price", price(order.average_price)],
      ["Started", minuteTime(order.started_at)],
      ["Expected end", expectedEnd ? minuteTime(new Date(expectedEnd).toISOString()) : "–"],
      ["Ended", minuteTime(order.ended_at)],
    ]),
    life(order, events, expectedEnd, fills.items),
    hint("The dashed line is the plan: even execution from start to expected end. The solid line is the size of the slices; an event has the executed size only when the order ends."),
    ...sliceParts(order, fills),
    make("h3", {}, "Events"),
    make("ol", { class: "events" }, events.map(eventItem)),
  ];
}

function life(order, events, expectedEnd, fills) {
  const points = events.map((event) => ({
    time: milliseconds(event.ts), executed: Number(event.size_executed ?? 0), status: event.status,
    tip: `${event.status}, ${second(event.ts)}, executed ${size(event.size_executed)}`,
  }));
  const label = `Life of the order: ${sideName(order.side)} ${size(order.size_requested)} ${assetName(order)}; ${points.map((point) => point.tip).join("; ")}`;
  return lifeChart({ start: milliseconds(order.started_at), expectedEnd, requested: Number(order.size_requested ?? 0), events: points, slices: progress(fills) }, label);
}

function eventItem(event) {
  return make(
    "li",
    {},
    make("strong", {}, status(event.status)), " ", secondTime(event.ts),
    event.status_error ? make("p", { class: "error" }, event.status_error) : null,
    hint(`executed ${size(event.size_executed)} of ${size(event.size_requested)} ${assetName(event)}, ${usd(event.notional_executed)} USD`),
    make("details", {}, make("summary", {}, "Source row"), make("pre", { tabindex: "0" }, JSON.stringify(event.raw, null, 1)), hint("Object: ", make("span", { class: "mono" }, event.object_key))),
  );
}

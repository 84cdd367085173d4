// Builds the page's elements. Values from the data are inserted as text, never as markup.

import { estimatedSize, grouped, minute, second, shortWallet } from "./format.js";

const SVG = "http://www.w3.org/2000/svg";

/** Create an element. Attributes and children that are null are omitted; children are elements or text. */
export const make = (tag, attributes, ...children) => fill(document.createElement(tag), attributes, children);

/** Create an element of a drawing. */
export const makeSvg = (tag, attributes, ...children) => fill(document.createElementNS(SVG, tag), attributes, children);

function fill(element, attributes, children) {
  for (const [name, value] of Object.entries(attributes ?? {})) {
    if (value !== null && value !== undefined) element.setAttribute(name, value);
  }
  element.append(...children.flat(2).filter((child) => child !== null && child !== undefined));
  return element;
}

/** Side of orders (B, A) and of fills (buy, sell) → its name, also the class of its color. */
const SIDES = { B: "buy", A: "sell", buy: "buy", sell: "sell" };
export const sideName = (letter) => SIDES[letter] ?? letter ?? "–";
export const side = (letter) => make("span", { class: SIDES[letter] }, sideName(letter));
export const status = (name) => make("span", { class: `status ${name ?? ""}` }, name ?? "–");
export const minuteTime = (timestamp) => (timestamp ? make("time", { datetime: timestamp, title: timestamp }, minute(timestamp)) : "–");
export const secondTime = (timestamp) => (timestamp ? make("time", { datetime: timestamp, title: timestamp }, second(timestamp)) : "–");
export const walletLink = (wallet, ...range) => make("a", { href: `#${["wallet", wallet, ...range].join("/")}`, class: "mono", title: wallet }, shortWallet(wallet));
export const orderLink = (id) => make("a", { href: `#order/${id}`, class: "mono" }, id);
export const figures = (pairs) => make("dl", { class: "figures" }, pairs.map(([name, value]) => make("div", {}, make("dt", {}, name), make("dd", {}, value))));
export const hint = (...text) => make("p", { class: "hint" }, ...text);
export const assetName = (row) => row.symbol ?? row.asset ?? "–";
export const remaining = (order) => estimatedSize(order.estimate_remaining_size);
export const count = (number) => grouped(String(number));

/** A section with a heading. */
export const section = (title, ...children) => make("section", {}, make("h2", {}, title), ...children);

/**
 * A table that scrolls sideways on narrow screens.
 *
 * @param caption Its caption, also its name for assistive technology.
 * @param columns [heading, function of a row that returns the cell's content, class of the column or nothing].
 * @param rows The rows.
 */
export function table(caption, columns, rows) {
  const head = make("tr", {}, columns.map(([heading, , kind]) => make("th", { scope: "col", class: kind }, heading)));
  const body = rows.map((row) => make("tr", {}, columns.map(([, content, kind]) => make("td", { class: kind }, content(row)))));
  return make(
    "div",
    { class: "scroll", tabindex: "0", role: "region", "aria-label": caption },
    make("table", {}, make("caption", {}, caption), make("thead", {}, head), make("tbody", {}, body)),
  );
}

/** A row of links, one of which is the current one. */
export function choices(label, items) {
  return make("nav", { class: "choices", "aria-label": label }, items.map(([text, href, isCurrent]) =>
    make("a", { href, "aria-current": isCurrent ? "true" : null }, text)));
}

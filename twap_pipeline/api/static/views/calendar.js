// Days as cells of one small table per month.

import { make } from "../elements.js";

const WEEKDAYS = ["Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun"];
const weekday = (date) => (new Date(`${date}T00:00:00Z`).getUTCDay() + 6) % 7;

export const monthName = (month) =>
  new Date(`${month}-01T00:00:00Z`).toLocaleDateString("en", { month: "long", year: "numeric", timeZone: "UTC" });

/** Return a table per month; `days` are [date, content of the cell], in order and without gaps. */
export function monthCards(days) {
  const months = Object.entries(Object.groupBy(days, ([date]) => date.slice(0, 7)));
  return make("div", { class: "months" }, months.map(([month, list]) => monthCard(month, list)));
}

export function monthCard(month, days) {
  const weeks = [Array.from({ length: weekday(days[0][0]) }, () => make("td"))];
  for (const [, content] of days) {
    if (weeks.at(-1).length === 7) weeks.push([]);
    weeks.at(-1).push(make("td", {}, content));
  }
  return make(
    "table",
    {},
    make("caption", {}, monthName(month)),
    make("thead", {}, make("tr", {}, WEEKDAYS.map((head) => make("th", { scope: "col", abbr: head }, head[0])))),
    make("tbody", {}, weeks.map((week) => make("tr", {}, week))),
  );
}

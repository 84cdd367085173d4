// Data coverage: which days are loaded, which are missing, which objects failed; whether fills add up to the orders.

import { count, figures, hint, make, minuteTime, section } from "../elements.js";
import { getJson } from "../requests.js";
import { monthCard, monthName } from "./calendar.js";
import { reconciledRange, reconciliationPart } from "./reconciliation.js";

const MONTHS_SHOWN = 12;
const LEGEND = [["level-1", "few rows"], ["level-2", "some rows"], ["level-3", "many rows"], ["gap", "no objects"], ["failed", "failed objects"], ["pending", "objects pending refresh"], ["without-fills", "no fills"]];

export async function coverageView() {
  const body = await getJson("/coverage");
  if (!body.days.length) return [section("Data coverage", hint("No object was ingested yet: run `twap-pipeline ingest`."))];
  const range = await reconciledRange();
  const rowsMax = Math.max(1, ...body.days.map((day) => day.rows_read));
  const cards = monthRuns(body.days).map((run) => (run.isEmpty ? emptyMonths(run) : monthCard(run.first, run.days.map((day) => [day.day, dayCell(day, rowsMax, body.days_without_fills !== null)]))));
  const earlier = make("div", { class: "months" }, cards.slice(0, -MONTHS_SHOWN));
  const coverage = section(
    "Data coverage",
    figures([
      ["Events", count(body.rows_inserted)],
      ["Latest event", minuteTime(body.last_event_at)],
      ["Objects", count(body.objects)],
      ["Days without objects", count(body.missing_days.length)],
      ["Failed objects", count(body.failed)],
      ["Objects pending refresh", count(body.objects_pending_refresh)],
      ["Days without fills", body.days_without_fills === null ? "–" : count(body.days_without_fills.length)],
    ]),
    body.failed ? hint("`twap-pipeline audit` lists the failed objects and what to do.") : null,
    cards.length > MONTHS_SHOWN ? make("details", {}, make("summary", {}, "Earlier months"), earlier) : null,
    make("div", { class: "months" }, cards.slice(-MONTHS_SHOWN)),
    make("ul", { class: "legend" }, LEGEND.map(([kind, label]) => make("li", {}, make("span", { class: kind, "aria-hidden": "true" }, "1"), label))),
  );
  return range ? [coverage, section("Reconciliation of orders with their fills", ...(await reconciliationPart(range)))] : [coverage];
}

/** Group days by month; consecutive months without any object are one run. */
function monthRuns(days) {
  const runs = [];
  for (const [month, monthDays] of Object.entries(Object.groupBy(days, (day) => day.day.slice(0, 7)))) {
    const isEmpty = monthDays.every((day) => !day.objects && !day.failed);
    if (isEmpty && runs.at(-1)?.isEmpty) runs.at(-1).last = month;
    else runs.push({ first: month, last: month, isEmpty, days: monthDays });
  }
  return runs;
}

function emptyMonths({ first, last }) {
  const span = first === last ? monthName(first) : `${monthName(first)} to ${monthName(last)}`;
  return make("p", { class: "empty" }, `${span}: no objects`);
}

function dayCell(day, rowsMax, hasFills) {
  const isWithoutFills = hasFills && day.objects && !day.fill_objects;
  const level = day.objects ? `level-${Math.min(3, 1 + Math.floor((3 * day.rows_read) / (rowsMax + 1)))}` : "gap";
  const kinds = [level, day.failed ? "failed" : "", day.objects_pending_refresh ? "pending" : "", isWithoutFills ? "without-fills" : ""].filter(Boolean).join(" ");
  const parts = [
    day.objects ? `${day.objects} objects, ${count(day.rows_read)} rows` : "no objects",
    day.failed ? `${day.failed} failed` : null,
    day.parked ? `${day.parked} parked` : null,
    day.objects_pending_refresh ? `${day.objects_pending_refresh} pending refresh` : null,
    isWithoutFills ? "no fills" : null,
    day.fill_objects ? `${count(day.fill_rows)} rows of fills` : null,
    day.fill_objects_failed ? `${day.fill_objects_failed} failed objects of fills` : null,
  ];
  const label = `${day.day}: ${parts.filter(Boolean).join(", ")}`;
  return make("span", { class: kinds, title: label, role: "img", "aria-label": label }, String(Number(day.day.slice(8))));
}

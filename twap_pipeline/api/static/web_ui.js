// Script of the web page: requests the API and shows its responses. It computes no figures; decimals stay text.
// Values from the data are inserted as text, never as markup.

const API = "api/v2"; // relative: a proxy may serve the page below a path prefix
const PAGE_SIZE = 50;
const MONTHS_SHOWN = 12;
const WALLET = /^0x[0-9a-f]{40}$/i;
const ORDER = /^\d{1,40}$/;
const $ = (id) => document.getElementById(id);

/** Create an element. Attributes and children that are null are omitted; children are elements or text. */
function make(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (value !== null && value !== undefined) element.setAttribute(name, value);
  }
  element.append(...children.flat().filter((child) => child !== null && child !== undefined));
  return element;
}

// ---------------------------------------------------------------- requests

class ProblemError extends Error {
  constructor(status, problem) {
    super([problem.title, problem.detail].filter(Boolean).join(". "));
    this.status = status;
  }
}

const key = () => sessionStorage.getItem("twap-api-key");

async function request(path, parameters = {}) {
  const query = new URLSearchParams(Object.entries(parameters).filter(([, value]) => value));
  const keyUsed = key();
  const headers = keyUsed ? { Authorization: `Bearer ${keyUsed}` } : {};
  const response = await fetch(`${API}${path}${query.size ? `?${query}` : ""}`, { headers });
  if (response.ok) return response;
  if (response.status === 401 && keyUsed === key()) showKeyForm(); // not if a key was entered since the request
  throw new ProblemError(response.status, await response.json().catch(() => ({ title: `HTTP status ${response.status}` })));
}

const getJson = async (path, parameters) => (await request(path, parameters)).json();

function showKeyForm() {
  sessionStorage.removeItem("twap-api-key");
  $("unlock").hidden = false;
}

// ---------------------------------------------------------------- formatting

const SIDES = { B: "buy", A: "sell" };
const side = (letter) => make("span", { class: SIDES[letter] }, SIDES[letter] ?? letter ?? "–");
const status = (name) => make("span", { class: name }, name ?? "–");
const grouped = (text) => (text ?? "–").replace(/^-?\d+/, (whole) => whole.replace(/\B(?=(\d{3})+$)/g, ","));
const usd = (text) => grouped(text?.replace(/(\.\d\d)\d+$/, "$1"));
const minutes = (text) => (text ? make("time", { datetime: text, title: text }, text.slice(0, 16).replace("T", " ")) : "–");
const seconds = (text) => make("time", { datetime: text, title: text }, text.slice(0, 19).replace("T", " "));
const short = (wallet) => `${wallet.slice(0, 6)}…${wallet.slice(-4)}`;
const walletLink = (wallet) => make("a", { href: `#wallet/${wallet}`, class: "mono", title: wallet }, short(wallet));
const orderLink = (id) => make("a", { href: `#order/${id}`, class: "mono" }, id);
const figure = (name, value) => make("div", {}, make("dt", {}, name), make("dd", {}, value));

function table(caption, heads, rows) {
  const cell = (tag, [text, kind], scope) => make(tag, { class: kind, scope }, text);
  return make(
    "div",
    { class: "scroll", tabindex: "0", role: "region", "aria-label": caption },
    make(
      "table",
      {},
      make("caption", {}, caption),
      make("thead", {}, make("tr", {}, heads.map((head) => cell("th", head, "col")))),
      make("tbody", {}, rows.map((row) => make("tr", {}, row.map((text, index) => cell("td", [text, heads[index][1]]))))),
    ),
  );
}

const latestCall = new Map(); // section -> its latest call of show()

/** Replace the content of a section; show an error message if a request fails. A later call for the section wins. */
async function show(section, makeContent) {
  const call = Symbol();
  latestCall.set(section, call);
  section.setAttribute("aria-busy", "true");
  let content;
  try {
    content = await makeContent();
  } catch (error) {
    if (!(error instanceof ProblemError || error instanceof TypeError)) throw error;
    const message = error instanceof ProblemError ? error.message : "The server is not reachable.";
    content = [make("p", { role: "alert", class: "error" }, message)];
  }
  if (latestCall.get(section) !== call) return;
  section.replaceChildren(...content);
  section.setAttribute("aria-busy", "false");
}

// ---------------------------------------------------------------- wallet

const ORDER_HEADS = [["Order"], ["Latest event"], ["Asset"], ["Side"], ["Status"], ["Executed", "number"], ["USD", "number"], ["Minutes", "number"]];
const orderRow = (order) => [
  orderLink(order.twap_id), minutes(order.last_status_at), order.asset ?? "–", side(order.side), status(order.status),
  grouped(order.size_executed), usd(order.notional_executed), String(order.duration_minutes ?? "–"),
];

const ASSET_HEADS = [["Asset"], ["Side"], ["Orders", "number"], ["Finished", "number"], ["Underfilled", "number"], ["Executed", "number"], ["USD", "number"], ["Average price", "number"]];
const assetRow = (total) => [
  total.asset ?? "–", side(total.side), String(total.order_count), String(total.finished), String(total.underfilled_order_count),
  grouped(total.size_executed), usd(total.notional_executed), grouped(total.average_price),
];

async function wallet(address, range) {
  const parameters = { wallet: address, limit: PAGE_SIZE, time_field: "updated", ...range };
  const [summary, page] = await Promise.all([getJson(`/wallets/${address}/summary`, range), getJson("/orders", parameters)]);
  const list = table("Orders, newest first", ORDER_HEADS, page.orders.map(orderRow));
  const parts = [
    make("h2", {}, "Wallet ", make("span", { class: "mono" }, summary.wallet)),
    make(
      "dl",
      { class: "figures" },
      figure("Orders", grouped(String(summary.order_count))),
      figure("Executed, USD", usd(summary.notional_executed)),
      figure("First order", minutes(summary.first_order_at)),
      figure("Last event", minutes(summary.last_event_at)),
    ),
  ];
  if (!summary.order_count) return [...parts, make("p", {}, "The data contain no order of this wallet in these days.")];
  const more = moreButton(page.next_cursor, parameters, list.querySelector("tbody"));
  const downloads = ["csv", "parquet"].map((kind) => download(address, kind, range));
  const actions = make("p", { class: "actions" }, more, ...downloads, make("span", { class: "hint" }, "One row per order, without fees."));
  return [...parts, table("Totals by asset and side; sizes in coin units", ASSET_HEADS, summary.by_asset.map(assetRow)), make("h3", {}, "Orders"), list, actions];
}

function moreButton(cursor, parameters, body) {
  if (!cursor) return null;
  const button = make("button", { type: "button" }, "More orders");
  button.addEventListener("click", async () => {
    button.disabled = true;
    const page = await getJson("/orders", { ...parameters, cursor });
    const rows = table("", ORDER_HEADS, page.orders.map(orderRow)).querySelectorAll("tbody tr");
    body.append(...rows);
    rows[0]?.querySelector("a").focus();
    cursor = page.next_cursor;
    button.disabled = false;
    if (!cursor) button.remove();
  });
  return button;
}

/** A download link. With an API key, the script fetches the file, because a link cannot send a header. */
function download(address, kind, range) {
  const path = `/wallets/${address}/exports/${kind}`;
  const query = new URLSearchParams(Object.entries(range).filter(([, value]) => value));
  const link = make("a", { href: `${API}${path}?${query}`, download: "" }, `Download ${kind === "csv" ? "CSV" : "Parquet"}`);
  link.addEventListener("click", async (event) => {
    if (!key()) return;
    event.preventDefault();
    const file = URL.createObjectURL(await (await request(path, range)).blob());
    make("a", { href: file, download: `twap-orders-${address}.${kind}` }).click();
    URL.revokeObjectURL(file);
  });
  return link;
}

// ---------------------------------------------------------------- order

async function order(id) {
  const { events, next_cursor: next } = await getJson(`/orders/${id}`);
  const last = events.at(-1);
  return [
    make("h2", {}, "Order ", make("span", { class: "mono" }, id)),
    make(
      "p",
      {},
      side(last.side), ` ${grouped(last.size_requested)} ${last.asset ?? "?"} over ${last.duration_minutes ?? "?"} minutes, by `,
      walletLink(last.wallet),
    ),
    make("ol", { class: "events" }, events.map(eventItem)),
    next ? make("p", { class: "hint" }, `The first ${events.length} events; the API has the others.`) : null,
  ].filter(Boolean);
}

function eventItem(event) {
  return make(
    "li",
    {},
    make("strong", {}, status(event.status)), " ", seconds(event.ts),
    event.status_error ? make("p", { class: "error" }, event.status_error) : null,
    executed(event),
    make("details", {}, make("summary", {}, "Source row"), make("pre", { tabindex: "0" }, JSON.stringify(event.raw, null, 1))),
  );
}

function executed(event) {
  const label = `executed ${grouped(event.size_executed)} of ${grouped(event.size_requested)} ${event.asset ?? ""}, ${grouped(event.notional_executed)} USD`;
  const bar = make("meter", { min: "0", max: event.size_requested ?? "1", value: event.size_executed ?? "0", "aria-label": label });
  return make("div", {}, bar, " ", make("span", { class: "hint" }, label));
}

// ---------------------------------------------------------------- active orders

const ACTIVE_HEADS = [["Order"], ["Wallet"], ["Asset"], ["Side"], ["Status"], ["Size", "number"], ["Remaining (estimate)", "number"], ["Expected end"]];
const activeRow = (order) => [
  orderLink(order.twap_id), walletLink(order.wallet), order.asset ?? "–", side(order.side), status(order.status),
  grouped(order.size_requested), grouped(order.estimate_remaining_size?.replace(/\.?0+$/, "")), minutes(order.expected_end),
];

async function active() {
  const body = await getJson("/active", { limit: PAGE_SIZE });
  const counts = `${grouped(String(body.active_count))} active, ${grouped(String(body.stale_count))} stale.`;
  const parts = [make("p", {}, `${counts} Latest event: `, minutes(body.data_until), ".")];
  if (body.active.length) parts.push(table("Active orders", ACTIVE_HEADS, body.active.map(activeRow)));
  if (body.stale.length) {
    const list = table("Stale orders: the terminal event is late, lost, or outside the data", ACTIVE_HEADS, body.stale.map(activeRow));
    parts.push(make("details", {}, make("summary", {}, `Stale: more than ${body.grace_minutes} minutes past the expected end`), list));
  }
  return parts;
}

// ---------------------------------------------------------------- coverage

async function coverage() {
  const body = await getJson("/coverage");
  const figures = [
    figure("Events", grouped(String(body.rows_inserted))),
    figure("Latest event", minutes(body.last_event_at)),
    figure("Objects", grouped(String(body.objects))),
    figure("Days without objects", grouped(String(body.missing_days.length))),
    figure("Failed objects", grouped(String(body.failed))),
    figure("Objects pending refresh", grouped(String(body.objects_pending_refresh))),
  ];
  const rowsMax = Math.max(1, ...body.days.map((day) => day.rows_read));
  const cards = monthRuns(body.days).map((run) => (run.empty ? emptyMonths(run) : calendar(run.first, run.days, rowsMax)));
  const parts = [make("dl", { class: "figures" }, ...figures), make("div", { class: "months" }, cards.slice(-MONTHS_SHOWN)), legend()];
  if (cards.length > MONTHS_SHOWN) {
    const earlier = make("div", { class: "months" }, cards.slice(0, -MONTHS_SHOWN));
    parts.splice(1, 0, make("details", {}, make("summary", {}, "Earlier months"), earlier));
  }
  return parts;
}

const monthName = (month) =>
  new Date(`${month}-01T00:00:00Z`).toLocaleDateString("en", { month: "long", year: "numeric", timeZone: "UTC" });

/** Group days by month; consecutive months without any object are one run. */
function monthRuns(days) {
  const runs = [];
  for (const [month, monthDays] of Object.entries(Object.groupBy(days, (day) => day.day.slice(0, 7)))) {
    const empty = monthDays.every((day) => !day.objects && !day.failed);
    if (empty && runs.at(-1)?.empty) runs.at(-1).last = month;
    else runs.push({ first: month, last: month, empty, days: monthDays });
  }
  return runs;
}

function emptyMonths({ first, last }) {
  const span = first === last ? monthName(first) : `${monthName(first)} to ${monthName(last)}`;
  return make("p", { class: "empty" }, `${span}: no objects`);
}

function calendar(month, days, rowsMax) {
  const title = monthName(month);
  const weeks = [[]];
  const weekday = (day) => (new Date(`${day}T00:00:00Z`).getUTCDay() + 6) % 7;
  for (let blank = weekday(days[0].day); blank; blank -= 1) weeks.at(-1).push(make("td"));
  for (const day of days) {
    if (weeks.at(-1).length === 7) weeks.push([]);
    weeks.at(-1).push(make("td", {}, dayCell(day, rowsMax)));
  }
  const heads = ["Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun"];
  return make(
    "table",
    {},
    make("caption", {}, title),
    make("thead", {}, make("tr", {}, heads.map((head) => make("th", { scope: "col", abbr: head }, head[0])))),
    make("tbody", {}, weeks.map((week) => make("tr", {}, week))),
  );
}

function dayCell(day, rowsMax) {
  const level = day.objects ? `level-${Math.min(3, 1 + Math.floor((3 * day.rows_read) / (rowsMax + 1)))}` : "gap";
  const kinds = [level, day.failed ? "failed" : "", day.objects_pending_refresh ? "pending" : ""].filter(Boolean).join(" ");
  const parts = [
    day.objects ? `${day.objects} objects, ${grouped(String(day.rows_read))} rows` : "no objects",
    day.failed ? `${day.failed} failed` : null,
    day.parked ? `${day.parked} parked` : null,
    day.objects_pending_refresh ? `${day.objects_pending_refresh} pending refresh` : null,
  ];
  const label = `${day.day}: ${parts.filter(Boolean).join(", ")}`;
  return make("span", { class: kinds, title: label, role: "img", "aria-label": label }, String(Number(day.day.slice(8))));
}

function legend() {
  const kinds = [["level-1", "few rows"], ["level-2", "some rows"], ["level-3", "many rows"], ["gap", "no objects"], ["failed", "failed objects"], ["pending", "objects pending refresh"]];
  return make("ul", { class: "legend" }, kinds.map(([kind, label]) => make("li", {}, make("span", { class: kind, "aria-hidden": "true" }, "1"), label)));
}

// ---------------------------------------------------------------- navigation

/** Show the wallet or order of the URL fragment: #wallet/0x…[/from[/before]] or #order/…. */
async function navigate() {
  const [kind, query, from, until] = decodeURIComponent(location.hash.slice(1)).split("/");
  const result = $("result");
  const known = (kind === "wallet" && WALLET.test(query ?? "")) || (kind === "order" && ORDER.test(query ?? ""));
  result.hidden = !known;
  document.title = known ? `${query} · TWAP history` : "TWAP history";
  if (!known) return;
  $("query").value = query;
  $("from").value = from ?? "";
  $("until").value = until ?? "";
  await show(result, () => (kind === "wallet" ? wallet(query, { start: from, end: until }) : order(query)));
  result.focus({ preventScroll: true });
  result.scrollIntoView({ block: "start" });
}

$("search").addEventListener("submit", (event) => {
  event.preventDefault();
  const query = $("query").value.trim();
  const isWallet = WALLET.test(query);
  $("query").setCustomValidity(isWallet || ORDER.test(query) ? "" : "Enter a wallet (0x and 40 hex digits) or the number of an order.");
  if (!$("search").reportValidity()) return;
  const next = isWallet ? ["#wallet", query.toLowerCase(), $("from").value, $("until").value] : ["#order", query];
  while (!next.at(-1)) next.pop();
  if (location.hash === next.join("/")) navigate();
  else location.hash = next.join("/");
});
$("query").addEventListener("input", () => $("query").setCustomValidity(""));

$("unlock").addEventListener("submit", (event) => {
  event.preventDefault();
  sessionStorage.setItem("twap-api-key", $("key").value.trim());
  $("unlock").hidden = true;
  start();
});

function start() {
  navigate();
  show($("active"), active);
  show($("coverage"), coverage);
}

window.addEventListener("hashchange", navigate);
start();

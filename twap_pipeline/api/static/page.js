// The page: asks the API and shows what it says. No figure is reckoned here; decimals stay the text that they are.
// Everything that came from the data goes into the page as text, never as markup.

const PAGE = 50;
const MONTHS_SHOWN = 12;
const WALLET = /^0x[0-9a-f]{40}$/i;
const ORDER = /^\d{1,40}$/;
const $ = (id) => document.getElementById(id);

/** Make an element: attributes that are null are left out, children are elements or text. */
function make(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (value !== null && value !== undefined) element.setAttribute(name, value);
  }
  element.append(...children.flat().filter((child) => child !== null && child !== undefined));
  return element;
}

// ---------------------------------------------------------------- asking

class Refused extends Error {
  constructor(status, problem) {
    super([problem.title, problem.detail].filter(Boolean).join(". "));
    this.status = status;
  }
}

const key = () => sessionStorage.getItem("twap-api-key");

async function request(path, parameters = {}) {
  const query = new URLSearchParams(Object.entries(parameters).filter(([, value]) => value));
  const headers = key() ? { Authorization: `Bearer ${key()}` } : {};
  const answer = await fetch(`/api/v1${path}${query.size ? `?${query}` : ""}`, { headers });
  if (answer.ok) return answer;
  if (answer.status === 401) askForKey();
  throw new Refused(answer.status, await answer.json().catch(() => ({ title: `The server answered ${answer.status}` })));
}

const ask = async (path, parameters) => (await request(path, parameters)).json();

function askForKey() {
  sessionStorage.removeItem("twap-api-key");
  $("unlock").hidden = false;
}

// ---------------------------------------------------------------- telling

const SIDES = { B: "buy", A: "sell" };
const side = (letter) => make("span", { class: SIDES[letter] }, SIDES[letter] ?? letter ?? "–");
const status = (word) => make("span", { class: word }, word ?? "–");
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
      make("tbody", {}, rows.map((row) => make("tr", {}, row.map((text, place) => cell("td", [text, heads[place][1]]))))),
    ),
  );
}

async function show(place, make_content) {
  place.setAttribute("aria-busy", "true");
  try {
    place.replaceChildren(...(await make_content()));
  } catch (error) {
    if (!(error instanceof Refused || error instanceof TypeError)) throw error;
    const words = error instanceof Refused ? error.message : "The server does not answer.";
    place.replaceChildren(make("p", { role: "alert", class: "error" }, words));
  } finally {
    place.setAttribute("aria-busy", "false");
  }
}

// ---------------------------------------------------------------- a wallet

const ORDER_HEADS = [["Order"], ["Latest event"], ["Asset"], ["Side"], ["Status"], ["Executed", "number"], ["USD", "number"], ["Minutes", "number"]];
const orderRow = (one) => [
  orderLink(one.twap_id), minutes(one.latest_ts), one.asset ?? "–", side(one.side), status(one.status),
  grouped(one.executed.size), usd(one.executed.notional), String(one.duration_minutes ?? "–"),
];

const ASSET_HEADS = [["Asset"], ["Side"], ["Orders", "number"], ["Finished", "number"], ["Under-filled", "number"], ["Executed", "number"], ["USD", "number"], ["Average price", "number"]];
const assetRow = (one) => [
  one.asset ?? "–", side(one.side), String(one.orders), String(one.finished), String(one.is_underfilled),
  grouped(one.size_executed), usd(one.notional_executed), grouped(one.average_price?.replace(/(\.\d{4})\d+$/, "$1")),
];

async function wallet(address, range) {
  const [summary, page] = await Promise.all([
    ask(`/wallets/${address}/summary`, range),
    ask("/twaps", { wallet: address, limit: PAGE, ...range }),
  ]);
  const list = table("Orders, the latest first", ORDER_HEADS, page.twaps.map(orderRow));
  const parts = [
    make("h2", {}, "Wallet ", make("span", { class: "mono" }, summary.wallet)),
    make(
      "dl",
      { class: "figures" },
      figure("Orders", grouped(String(summary.orders))),
      figure("Executed, USD", usd(summary.notional_executed)),
      figure("First order", minutes(summary.first_order_at)),
      figure("Last event", minutes(summary.last_event_at)),
    ),
  ];
  if (!page.twaps.length) return [...parts, make("p", {}, "No order of this wallet is in the data for these days.")];
  const more = moreButton(page.next_cursor, { wallet: address, limit: PAGE, ...range }, list.querySelector("tbody"));
  const downloads = ["csv", "parquet"].map((kind) => download(address, kind, range));
  const actions = make("p", { class: "actions" }, more, ...downloads, make("span", { class: "hint" }, "No fees, no slices: a row is a whole order."));
  return [...parts, table("By asset and side; sizes in coins", ASSET_HEADS, summary.by_asset.map(assetRow)), make("h3", {}, "Orders"), list, actions];
}

function moreButton(cursor, parameters, body) {
  if (!cursor) return null;
  const button = make("button", { type: "button" }, "More orders");
  button.addEventListener("click", async () => {
    button.disabled = true;
    const page = await ask("/twaps", { ...parameters, cursor });
    const rows = table("", ORDER_HEADS, page.twaps.map(orderRow)).querySelectorAll("tbody tr");
    body.append(...rows);
    rows[0]?.querySelector("a").focus();
    cursor = page.next_cursor;
    button.disabled = false;
    if (!cursor) button.remove();
  });
  return button;
}

/** A link that the browser follows by itself; with a key, which links cannot carry, the file is fetched first. */
function download(address, kind, range) {
  const path = `/wallets/${address}/export.${kind}`;
  const query = new URLSearchParams(Object.entries(range).filter(([, value]) => value));
  const link = make("a", { href: `/api/v1${path}?${query}`, download: "" }, `Download ${kind === "csv" ? "CSV" : "Parquet"}`);
  link.addEventListener("click", async (event) => {
    if (!key()) return;
    event.preventDefault();
    const file = URL.createObjectURL(await (await request(path, range)).blob());
    make("a", { href: file, download: `twap-orders-${address}.${kind}` }).click();
    URL.revokeObjectURL(file);
  });
  return link;
}

// ---------------------------------------------------------------- an order

async function order(id) {
  const { rows } = await ask(`/twaps/${id}`);
  const last = rows.at(-1);
  return [
    make("h2", {}, "Order ", make("span", { class: "mono" }, id)),
    make(
      "p",
      {},
      side(last.side), ` ${grouped(last.size_requested)} ${last.asset ?? "?"} over ${last.duration_minutes ?? "?"} minutes, by `,
      walletLink(last.wallet),
    ),
    make("ol", { class: "life" }, rows.map(life)),
  ];
}

function life(row) {
  const said = typeof row.raw?.status === "string" ? row.raw.status : JSON.stringify(row.raw?.status ?? null);
  return make(
    "li",
    {},
    make("strong", {}, status(row.status)), " ", seconds(row.ts),
    said !== row.status && row.status === "error" ? make("p", { class: "error" }, said) : null,
    executed(row),
    make("details", {}, make("summary", {}, "Source row"), make("pre", { tabindex: "0" }, JSON.stringify(row.raw, null, 1))),
  );
}

function executed(row) {
  const words = `executed ${grouped(row.size_executed)} of ${grouped(row.size_requested)} ${row.asset ?? ""}, ${grouped(row.notional_executed)} USD`;
  const bar = make("meter", { min: "0", max: row.size_requested ?? "1", value: row.size_executed ?? "0", "aria-label": words });
  return make("div", {}, bar, " ", make("span", { class: "hint" }, words));
}

// ---------------------------------------------------------------- running now

const RUNNING_HEADS = [["Order"], ["Wallet"], ["Asset"], ["Side"], ["Status"], ["Size", "number"], ["Left, estimate", "number"], ["Expected end"]];
const runningRow = (one) => [
  orderLink(one.twap_id), walletLink(one.wallet), one.asset ?? "–", side(one.side), status(one.status),
  grouped(one.size_requested), grouped(one.estimate_remaining_size?.replace(/\.?0+$/, "")), minutes(one.expected_end),
];

async function running() {
  const told = await ask("/twaps/active", { limit: PAGE });
  const counts = `${grouped(String(told.active_count))} should be running, ${grouped(String(told.stale_count))} should have ended.`;
  const parts = [make("p", {}, `${counts} The data reach to `, minutes(told.data_until), ".")];
  if (told.active.length) parts.push(table("Active orders; what is left is an estimate", RUNNING_HEADS, told.active.map(runningRow)));
  if (told.stale.length) {
    const list = table("Their end is late, lost, or outside the data", RUNNING_HEADS, told.stale.map(runningRow));
    parts.push(make("details", {}, make("summary", {}, `Past their end by more than ${told.grace_minutes} minutes`), list));
  }
  return parts;
}

// ---------------------------------------------------------------- coverage

async function coverage() {
  const told = await ask("/coverage");
  const figures = [
    figure("Events", grouped(String(told.rows_inserted))),
    figure("Latest event", minutes(told.last_event_at)),
    figure("Objects", grouped(String(told.objects))),
    figure("Days without objects", grouped(String(told.missing_days.length))),
    figure("Failed objects", grouped(String(told.failed))),
    figure("Objects behind", grouped(String(told.objects_pending_refresh))),
  ];
  const most = Math.max(1, ...told.days.map((day) => day.rows_read));
  const cards = monthRuns(told.days).map((run) => (run.empty ? emptyMonths(run) : calendar(run.first, run.days, most)));
  const parts = [make("dl", { class: "figures" }, ...figures), make("div", { class: "months" }, cards.slice(-MONTHS_SHOWN)), legend()];
  if (cards.length > MONTHS_SHOWN) {
    const earlier = make("div", { class: "months" }, cards.slice(0, -MONTHS_SHOWN));
    parts.splice(1, 0, make("details", {}, make("summary", {}, "Earlier months"), earlier));
  }
  return parts;
}

const monthName = (month) =>
  new Date(`${month}-01T00:00:00Z`).toLocaleDateString("en", { month: "long", year: "numeric", timeZone: "UTC" });

/** Months with their days; months in a row that hold nothing at all are one run. */
function monthRuns(days) {
  const runs = [];
  for (const [month, held] of Object.entries(Object.groupBy(days, (day) => day.day.slice(0, 7)))) {
    const empty = held.every((day) => !day.objects && !day.failed);
    if (empty && runs.at(-1)?.empty) runs.at(-1).last = month;
    else runs.push({ first: month, last: month, empty, days: held });
  }
  return runs;
}

function emptyMonths({ first, last }) {
  const span = first === last ? monthName(first) : `${monthName(first)} to ${monthName(last)}`;
  return make("p", { class: "empty" }, `${span}: no objects, a gap`);
}

function calendar(month, days, most) {
  const title = monthName(month);
  const weeks = [[]];
  const weekday = (day) => (new Date(`${day}T00:00:00Z`).getUTCDay() + 6) % 7;
  for (let blank = weekday(days[0].day); blank; blank -= 1) weeks.at(-1).push(make("td"));
  for (const day of days) {
    if (weeks.at(-1).length === 7) weeks.push([]);
    weeks.at(-1).push(make("td", {}, dayCell(day, most)));
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

function dayCell(day, most) {
  const level = day.objects ? `level-${Math.min(3, 1 + Math.floor((3 * day.rows_read) / (most + 1)))}` : "gap";
  const kinds = [level, day.failed ? "failed" : "", day.objects_pending_refresh ? "behind" : ""].filter(Boolean).join(" ");
  const words = [
    day.objects ? `${day.objects} objects, ${grouped(String(day.rows_read))} rows` : "no objects",
    day.failed ? `${day.failed} failed` : null,
    day.parked ? `${day.parked} parked` : null,
    day.objects_pending_refresh ? `${day.objects_pending_refresh} not yet in the orders` : null,
  ];
  const said = `${day.day}: ${words.filter(Boolean).join(", ")}`;
  return make("span", { class: kinds, title: said, role: "img", "aria-label": said }, String(Number(day.day.slice(8))));
}

function legend() {
  const kinds = [["level-1", "few rows"], ["level-2", "some"], ["level-3", "many"], ["gap", "no objects: a gap"], ["failed", "failed objects"], ["behind", "orders not up to date"]];
  return make("ul", { class: "legend" }, kinds.map(([kind, words]) => make("li", {}, make("span", { class: kind, "aria-hidden": "true" }, "1"), words)));
}

// ---------------------------------------------------------------- where we are

/** Show what the address asks for: #wallet/0x…[/from[/before]] or #order/…; anything else is the page itself. */
async function follow() {
  const [kind, what, from, until] = decodeURIComponent(location.hash.slice(1)).split("/");
  const answer = $("answer");
  const known = (kind === "wallet" && WALLET.test(what ?? "")) || (kind === "order" && ORDER.test(what ?? ""));
  answer.hidden = !known;
  document.title = known ? `${what} · TWAP history` : "TWAP history";
  if (!known) return;
  $("what").value = what;
  $("from").value = from ?? "";
  $("until").value = until ?? "";
  await show(answer, () => (kind === "wallet" ? wallet(what, { start: from, end: until }) : order(what)));
  answer.focus({ preventScroll: true });
  answer.scrollIntoView({ block: "start" });
}

$("ask").addEventListener("submit", (event) => {
  event.preventDefault();
  const what = $("what").value.trim();
  const isWallet = WALLET.test(what);
  $("what").setCustomValidity(isWallet || ORDER.test(what) ? "" : "Give a wallet (0x and 40 digits) or an order's number.");
  if (!$("ask").reportValidity()) return;
  const next = isWallet ? ["#wallet", what.toLowerCase(), $("from").value, $("until").value] : ["#order", what];
  while (!next.at(-1)) next.pop();
  if (location.hash === next.join("/")) follow();
  else location.hash = next.join("/");
});
$("what").addEventListener("input", () => $("what").setCustomValidity(""));

$("unlock").addEventListener("submit", (event) => {
  event.preventDefault();
  sessionStorage.setItem("twap-api-key", $("key").value.trim());
  $("unlock").hidden = true;
  start();
});

function start() {
  follow();
  show($("running"), running);
  show($("coverage"), coverage);
}

window.addEventListener("hashchange", follow);
start();

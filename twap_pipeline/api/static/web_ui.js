// The page: its navigation. The URL's fragment names a view and its arguments, so that every view is a link.

import { make } from "./elements.js";
import { getJson, onKeyNeeded, ProblemError, setApiKey } from "./requests.js";
import { activeView } from "./views/active.js";
import { coverageView } from "./views/coverage.js";
import { leaderboardView } from "./views/leaderboard.js";
import { marketView } from "./views/market.js";
import { orderView } from "./views/order.js";
import { reconciliationView } from "./views/reconciliation.js";
import { STATES } from "./views/slices.js";
import { walletView } from "./views/wallet.js";

const WALLET = /^0x[0-9a-f]{40}$/i;
const ORDER = /^\d{1,40}$/;
const $ = (id) => document.getElementById(id);

/** Fragment's first part → [view, title]. The view returns the sections of its content. */
const VIEWS = {
  market: [marketView, "Market"],
  leaderboard: [leaderboardView, "Leaderboard"],
  active: [activeView, "Active orders"],
  coverage: [coverageView, "Data coverage"],
  reconciliation: [reconciliationView, "Reconciliation"],
  wallet: [walletView, "Wallet"],
  order: [orderView, "Order"],
};

const isArgumentValid = { wallet: (text) => WALLET.test(text ?? ""), order: (text) => ORDER.test(text ?? ""), reconciliation: (text) => !text || Object.hasOwn(STATES, text) };

/** Return the view's name and arguments of the current fragment; the market if it names none. */
function currentView() {
  const [name, ...args] = location.hash.slice(1).split("/").map(decodeURIComponent);
  const isValid = Object.hasOwn(VIEWS, name) && (isArgumentValid[name]?.(args[0]) ?? true);
  return isValid ? [name, args.map((text) => text || undefined)] : ["market", []];
}

let latestNavigation = null;

/** Show the view of the URL. A later navigation wins over one whose requests have not ended. */
async function navigate() {
  const isFirst = latestNavigation === null;
  const navigation = Symbol();
  latestNavigation = navigation;
  const [name, args] = currentView();
  const [view, title] = VIEWS[name];
  $("view").setAttribute("aria-busy", "true");
  document.title = `${title}${args[0] && isArgumentValid[name] ? ` ${args[0]}` : ""} · TWAP history`;
  for (const link of document.querySelectorAll("#views a")) link.toggleAttribute("aria-current", link.hash === `#${name}`);
  if (name === "wallet" || name === "order") $("query").value = args[0];
  $("from").value = (name === "wallet" && args[1]) || "";
  $("until").value = (name === "wallet" && args[2]) || "";
  const content = await view(...args).catch(errorMessage);
  if (navigation !== latestNavigation) return;
  $("view").replaceChildren(...content);
  $("view").setAttribute("aria-busy", "false");
  if (isFirst) return;
  $("view").focus({ preventScroll: true });
  if (name === "wallet" || name === "order") $("view").scrollIntoView({ block: "start" });
}

function errorMessage(error) {
  if (!(error instanceof ProblemError || error instanceof TypeError)) throw error;
  const message = error instanceof ProblemError ? error.message : "The server is not reachable.";
  return [make("section", {}, make("p", { role: "alert", class: "error" }, message))];
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

onKeyNeeded((wasRefused) => {
  $("unlock").hidden = false;
  $("key-refused").hidden = !wasRefused;
});

$("unlock").addEventListener("submit", (event) => {
  event.preventDefault();
  setApiKey($("key").value.trim());
  $("unlock").hidden = true;
  start();
});

/** Show two wallets and two orders of the data as examples. Without data or with an error there are none. */
async function showExamples() {
  const { orders } = await getJson("/orders", { limit: 20 }).catch(() => ({ orders: [] }));
  const wallets = [...new Set(orders.map((order) => order.wallet))].slice(0, 2);
  const links = [
    ...wallets.map((wallet) => make("a", { href: `#wallet/${wallet}`, class: "mono" }, `${wallet.slice(0, 10)}…`)),
    ...orders.slice(0, 2).map((order) => make("a", { href: `#order/${order.twap_id}`, class: "mono" }, order.twap_id)),
  ];
  $("examples").hidden = !links.length;
  $("examples").replaceChildren("Examples: ", ...links.flatMap((link, index) => (index ? [", ", link] : [link])));
}

function start() {
  navigate();
  showExamples();
}

window.addEventListener("hashchange", navigate);
start();

// Requests the API. The key is kept until the tab is closed.

const API = "api/v2"; // relative: a proxy may serve the page below a path prefix
const PAGES_MAX = 10;
const KEY = "twap-api-key";

export class ProblemError extends Error {
  constructor(status, problem) {
    super([problem.title, problem.detail].filter(Boolean).join(". "));
    this.status = status;
  }
}

export const apiKey = () => sessionStorage.getItem(KEY);
export const setApiKey = (key) => sessionStorage.setItem(KEY, key);

const search = (parameters) => String(new URLSearchParams(Object.entries(parameters).filter(([, value]) => value)));
export const apiUrl = (path, parameters = {}) => [`${API}${path}`, search(parameters)].filter(Boolean).join("?");

/** Request a path; a 401 removes the key and calls the listener of `onKeyNeeded`. */
export async function request(path, parameters = {}) {
  const key = apiKey();
  const response = await fetch(apiUrl(path, parameters), { headers: key ? { Authorization: `Bearer ${key}` } : {} });
  if (response.ok) return response;
  if (response.status === 401 && key === apiKey()) { // not if a key was entered since the request
    sessionStorage.removeItem(KEY);
    keyNeeded(key !== null);
  }
  throw new ProblemError(response.status, await response.json().catch(() => ({ title: `HTTP status ${response.status}` })));
}

let keyNeeded = () => {};
/** Set the listener that asks for a key; its argument is whether a key was refused. */
export const onKeyNeeded = (listener) => { keyNeeded = listener; };

export const getJson = async (path, parameters) => (await request(path, parameters)).json();

/** Request the pages of a list. Returns {items, isComplete}: at most `pages` pages are read. */
export async function getPages(path, name, parameters, pages = PAGES_MAX) {
  const items = [];
  let cursor = null;
  for (let number = 0; number < pages; number += 1) {
    const body = await getJson(path, { ...parameters, cursor });
    items.push(...body[name]);
    cursor = body.next_cursor;
    if (!cursor) return { items, isComplete: true };
  }
  return { items, isComplete: false };
}

// The time of the latest event in the data: "today" of every view, also if the data are old.

import { getJson } from "../requests.js";

/** Return it in milliseconds, or null if the database contains no events. */
export async function dataUntil() {
  const { data_until: until } = await getJson("/active", { limit: 1 });
  return until ? Date.parse(until) : null;
}

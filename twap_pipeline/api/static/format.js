// Turns values of the API into text. Decimals stay text from the database to the page: nothing is computed with floats.

const DASH = "–";

/** Round a decimal text half away from zero to a number of places, without a float: ("2.675", 2) is "2.68". */
export function roundDecimal(text, places) {
  const [, sign, whole, fraction = ""] = /^(-?)(\d+)(?:\.(\d+))?$/.exec(text);
  if (fraction.length <= places) return text;
  const digits = BigInt(whole + fraction.slice(0, places)) + (fraction[places] >= "5" ? 1n : 0n);
  const padded = String(digits).padStart(places + 1, "0");
  const rounded = places ? `${padded.slice(0, -places)}.${padded.slice(-places)}` : padded;
  return /^[0.]*$/.test(rounded) ? rounded : sign + rounded;
}

/** Round a decimal text to significant digits; digits before the point are all kept: ("0.00361749", 4) is "0.003617". */
export function roundSignificant(text, digits) {
  const [, whole, fraction = ""] = /^-?0*(\d*)(?:\.(\d+))?$/.exec(text);
  const leadingZeros = whole ? 0 : /^0*/.exec(fraction)[0].length;
  return trimZeros(roundDecimal(text, Math.max(0, digits - whole.length) + leadingZeros));
}

const cents = (text) => `${text.split(".")[0]}.${(text.split(".")[1] ?? "").padEnd(2, "0")}`;
const trimZeros = (text) => (text.includes(".") ? text.replace(/\.?0+$/, "") : text);

/** Group the digits before the point by thousands. */
export const grouped = (value) => (value === null || value === undefined ? DASH : String(value).replace(/^-?\d+/, (whole) => whole.replace(/\B(?=(\d{3})+$)/g, ",")));

export const usd = (text) => (text === null || text === undefined ? DASH : grouped(cents(roundDecimal(text, 2))));
export const price = (text) => (text === null || text === undefined ? DASH : grouped(roundSignificant(text, 6)));
export const size = (text) => (text === null || text === undefined ? DASH : grouped(trimZeros(text)));
export const estimatedSize = (text) => (text === null || text === undefined ? DASH : grouped(roundSignificant(text, 6)));

const UNITS = [[1e9, "B"], [1e6, "M"], [1e3, "K"]];

/** Shorten a number for an axis or a bar: 1234567 is "1.23M". */
export function compact(number) {
  const [factor, unit] = UNITS.find(([limit]) => Number(Math.abs(number).toPrecision(3)) >= limit) ?? [1, ""];
  return `${Number((number / factor).toPrecision(3))}${unit}`;
}

export const minute = (timestamp) => (timestamp ? timestamp.slice(0, 16).replace("T", " ") : DASH);
export const second = (timestamp) => (timestamp ? timestamp.slice(0, 19).replace("T", " ") : DASH);
export const day = (date) => date.toISOString().slice(0, 10);

/** Describe a number of minutes: 1500 is "1 d 1 h". */
export function duration(minutes) {
  if (minutes === null || minutes === undefined) return DASH;
  const parts = [[Math.floor(minutes / 1440), "d"], [Math.floor((minutes % 1440) / 60), "h"], [Math.floor(minutes % 60), "min"]];
  return parts.filter(([count]) => count).map(([count, unit]) => `${count} ${unit}`).join(" ") || "0 min";
}

export const shortWallet = (wallet) => `${wallet.slice(0, 6)}…${wallet.slice(-4)}`;

/** Add decimal texts exactly; null counts as nothing. */
export function sumDecimals(texts) {
  const values = texts.filter((text) => text !== null && text !== undefined);
  const places = Math.max(0, ...values.map((text) => text.split(".")[1]?.length ?? 0));
  const total = values.reduce((sum, text) => {
    const [whole, fraction = ""] = text.split(".");
    return sum + BigInt(whole.replace("-", "") + fraction.padEnd(places, "0")) * (text.startsWith("-") ? -1n : 1n);
  }, 0n);
  const digits = String(total < 0n ? -total : total).padStart(places + 1, "0");
  return `${total < 0n ? "-" : ""}${places ? `${digits.slice(0, -places)}.${digits.slice(-places)}` : digits}`;
}

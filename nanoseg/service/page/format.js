// Numbers and times as text.

const whole = new Intl.NumberFormat("en", { maximumFractionDigits: 0 });
const tenths = new Intl.NumberFormat("en", { minimumFractionDigits: 1, maximumFractionDigits: 1 });

const known = (value) => typeof value === "number" && Number.isFinite(value);

/** A number without digits after the point, or a dash where there is none. */
export const count = (value) => (known(value) ? whole.format(value) : "–");

/** A number with one digit after the point. */
export const decimal = (value) => (known(value) ? tenths.format(value) : "–");

/** Milliseconds; above 10 s in seconds. */
export function ms(value) {
  if (!known(value)) return "–";
  if (value >= 1000) return `${decimal(value / 1000)} s`;
  return `${value < 100 ? decimal(value) : count(value)} ms`;
}

/** A fraction in percent. */
export const percent = (value) => (known(value) ? `${whole.format(value * 100)} %` : "–");

/** A time span in its two largest units. */
export function span(seconds) {
  if (!known(seconds)) return "–";
  const s = Math.max(0, Math.floor(seconds));
  if (s < 60) return `${s} s`;
  if (s < 3600) return `${Math.floor(s / 60)} min ${s % 60} s`;
  if (s < 86400) return `${Math.floor(s / 3600)} h ${Math.floor(s / 60) % 60} min`;
  return `${Math.floor(s / 86400)} d ${Math.floor(s / 3600) % 24} h`;
}

/** The time of day, with the date where that is not today. */
export function clock(date) {
  const time = date.toLocaleTimeString("en-GB");
  if (date.toDateString() === new Date().toDateString()) return time;
  return `${date.toLocaleDateString("en-GB", { day: "numeric", month: "short" })}, ${time}`;
}

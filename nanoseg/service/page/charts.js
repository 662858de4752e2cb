// Running charts: lines over up to two minutes, with their present and highest values in words.

import { make, setList, setText, shape } from "./dom.js";
import { span } from "./format.js";

const LONGEST = 120; // values, one a second
const SHORTEST = 30;
const LINES = 6; // --line-0 and on in page.css; each with dashes of its own

/** A chart in `parent`; its lines are named by the values that are added. */
export class Chart {
  #format;
  #svg = shape("svg", { preserveAspectRatio: "none", "aria-hidden": "true" });
  #legend = make("ul", { class: "legend" });
  #top = make("span", { class: "axis" });
  #middle = make("span", { class: "axis" });
  #from = make("span");
  #values = new Map();
  #added = 0;

  /** `format(value)` is a value with its unit. */
  constructor(parent, format) {
    this.#format = format;
    const axis = make("div", { class: "axes", "aria-hidden": "true" }, this.#top, this.#middle, make("span", { class: "axis" }, "0"));
    const times = make("div", { class: "times", "aria-hidden": "true" }, this.#from, make("span", {}, "now"));
    const plot = make("div", { class: "plot" }, this.#svg);
    parent.append(make("div", { class: "chart" }, axis, plot, times), this.#legend);
  }

  /** Add one value of each line; null or none leaves a gap. */
  add(values) {
    this.#added++;
    for (const name of Object.keys(values)) if (!this.#values.has(name)) this.#values.set(name, Array(LONGEST).fill(null));
    for (const [name, line] of this.#values) {
      line.push(values[name] ?? null);
      line.shift();
      if (line.every((value) => value === null)) this.#values.delete(name);
    }
    this.#draw();
  }

  #draw() {
    const length = Math.min(Math.max(this.#added, SHORTEST), LONGEST);
    const lines = [...this.#values].map(([name, line]) => [name, line.slice(-length)]);
    const top = roundUp(Math.max(0, ...lines.flatMap(([, line]) => line)));
    setText(this.#top, short(top));
    setText(this.#middle, short(top / 2));
    setText(this.#from, `${span(length)} ago`);
    this.#svg.setAttribute("viewBox", `0 0 ${length - 1} 100`);
    const grid = [0, 50, 100].map((y) => shape("path", { class: "grid", d: `M0 ${y}H${length - 1}` }));
    this.#svg.replaceChildren(...grid, ...lines.map(([, line], index) => (
      shape("path", { class: "line", "data-line": index % LINES, d: pathOf(line, top) })
    )));
    setList(this.#legend, lines, entry, (node, [name, line], index) => {
      const known = line.filter((value) => value !== null);
      node.querySelector("path").dataset.line = index % LINES;
      const [, term, now, most] = node.children;
      setText(term, name);
      setText(now, line.at(-1) === null ? "–" : this.#format(line.at(-1)));
      setText(most, known.length ? `max ${this.#format(Math.max(...known))}` : "");
    });
  }
}

function entry() {
  const sample = shape("svg", { viewBox: "0 0 22 8", width: 22, height: 8, "aria-hidden": "true" },
    shape("path", { class: "line", d: "M0 4H22" }));
  return make("li", {}, sample, make("span"), make("span", { class: "numbers now" }), make("span", { class: "numbers muted" }));
}

function pathOf(line, top) {
  let d = "";
  line.forEach((value, x) => {
    if (value !== null) d += `${x && line[x - 1] !== null ? "L" : "M"}${x} ${(100 - (value / top) * 100).toFixed(1)}`;
  });
  return d;
}

const short = (value) => (value < 1000 ? String(value) : `${value / 1000}k`);

/** The next of 1, 2, 5, 10, 20, 50 and so on. */
function roundUp(value) {
  const power = 10 ** Math.floor(Math.log10(Math.max(value, 1)));
  return [1, 2, 5, 10].find((factor) => factor * power >= value) * power;
}

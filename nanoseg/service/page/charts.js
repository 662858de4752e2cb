// Running charts: lines over up to two minutes, with their present and highest values in words.

import { make, setList, setText, shape } from "./dom.js";
import { span } from "./format.js";

const LONGEST_S = 120;
const SHORTEST_S = 30;
const GAP_S = 3; // without a value, as while the page is hidden, over which no line is drawn
const LINES = 6; // --line-0 and on in page.css; each with dashes of its own

/** A chart in `parent`; its lines are named by the values that are added. */
export class Chart {
  #format;
  #svg = shape("svg", { preserveAspectRatio: "none", "aria-hidden": "true" });
  #legend = make("ul", { class: "legend" });
  #top = make("span", { class: "axis" });
  #middle = make("span", { class: "axis" });
  #from = make("span");
  #added = []; // {at_s, values}, oldest first

  /** `format(value)` is a value with its unit. */
  constructor(parent, format) {
    this.#format = format;
    const axis = make("div", { class: "axes", "aria-hidden": "true" }, this.#top, this.#middle, make("span", { class: "axis" }, "0"));
    const times = make("div", { class: "times", "aria-hidden": "true" }, this.#from, make("span", {}, "now"));
    const plot = make("div", { class: "plot" }, this.#svg);
    parent.append(make("div", { class: "chart" }, axis, plot, times), this.#legend);
  }

  /** Add one value of each line, of now; null or none leaves a gap. */
  add(values) {
    const at_s = performance.now() / 1000;
    this.#added.push({ at_s, values });
    while (at_s - this.#added[0].at_s > LONGEST_S) this.#added.shift();
    this.#draw(at_s);
  }

  #draw(now_s) {
    const length_s = Math.max(now_s - this.#added[0].at_s, SHORTEST_S);
    const names = new Set(this.#added.flatMap(({ values }) => Object.keys(values).filter((name) => known(values[name]))));
    const lines = [...names].map((name) => [name, this.#added.map(({ values }) => values[name] ?? null)]);
    const top = roundUp(Math.max(0, ...lines.flatMap(([, line]) => line)));
    setText(this.#top, short(top));
    setText(this.#middle, short(top / 2));
    setText(this.#from, `${span(length_s)} ago`);
    this.#svg.setAttribute("viewBox", `0 0 ${length_s} 100`);
    const grid = [0, 50, 100].map((y) => shape("path", { class: "grid", d: `M0 ${y}H${length_s}` }));
    const places = this.#added.map(({ at_s }) => length_s - (now_s - at_s));
    this.#svg.replaceChildren(...grid, ...lines.map(([, line], index) => (
      shape("path", { class: "line", "data-line": index % LINES, d: pathOf(places, line, top) })
    )));
    setList(this.#legend, lines, entry, (node, [name, line], index) => {
      const values = line.filter(known);
      node.querySelector("path").dataset.line = index % LINES;
      const [, term, now, most] = node.children;
      setText(term, name);
      setText(now, line.at(-1) === null ? "–" : this.#format(line.at(-1)));
      setText(most, values.length ? `max ${this.#format(Math.max(...values))}` : "");
    });
  }
}

function entry() {
  const sample = shape("svg", { viewBox: "0 0 22 8", width: 22, height: 8, "aria-hidden": "true" },
    shape("path", { class: "line", d: "M0 4H22" }));
  return make("li", {}, sample, make("span"), make("span", { class: "numbers now" }), make("span", { class: "numbers muted" }));
}

/** The line through values at places along x, in seconds. */
function pathOf(places, line, top) {
  let d = "";
  line.forEach((value, index) => {
    if (!known(value)) return;
    const goesOn = index && known(line[index - 1]) && places[index] - places[index - 1] < GAP_S;
    d += `${goesOn ? "L" : "M"}${places[index].toFixed(2)} ${(100 - (value / top) * 100).toFixed(1)}`;
  });
  return d;
}

const known = (value) => typeof value === "number";

const short = (value) => (value < 1000 ? String(value) : `${value / 1000}k`);

/** The next of 1, 2, 5, 10, 20, 50 and so on. */
function roundUp(value) {
  const power = 10 ** Math.floor(Math.log10(Math.max(value, 1)));
  return [1, 2, 5, 10].find((factor) => factor * power >= value) * power;
}

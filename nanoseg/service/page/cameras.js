// The strip of cameras: a small picture of each, and its state in words.

import { byId, make, setList, setPairs, setPill, setText } from "./dom.js";
import { clock, count, decimal, ms, span } from "./format.js";
import { Player } from "./player.js";

const EVERY_MS = 2000;
const STATES = {
  connecting: ["wait", "Connecting"], live: ["good", "Live"], lost: ["bad", "Lost"], ended: ["wait", "Ended"],
  closed: ["wait", "Closed"],
};

/** Calls `onSelect(name)` when another camera is chosen. */
export class Cameras {
  #service;
  #onSelect;
  #sources = [];
  #selected = null;
  #timer;

  constructor(service, onSelect) {
    this.#service = service;
    this.#onSelect = onSelect;
  }

  update(sources, selected) {
    this.#sources = sources;
    this.#selected = selected;
    byId("cameras-empty").hidden = sources.length > 0;
    const update = (node, source) => this.#update(node, source);
    setList(byId("cameras"), sources, () => this.#create(), update, ({ name }) => name);
    const source = sources.find(({ name }) => name === selected);
    setPairs(byId("camera-details"), source ? details(source) : []);
  }

  /** Get the small pictures, one after the other, as long as the page is seen. */
  start() {
    this.stop();
    const run = (this.#timer = {});
    const next = async () => {
      const begun_ms = performance.now();
      for (const source of this.#sources) {
        if (run !== this.#timer) return;
        await this.#refresh(source);
      }
      run.id = setTimeout(next, Math.max(0, EVERY_MS - (performance.now() - begun_ms)));
    };
    next();
  }

  stop() {
    clearTimeout(this.#timer?.id);
    this.#timer = null;
  }

  #create() {
    const canvas = make("canvas", { width: 160, height: 120, "aria-hidden": "true" });
    const text = make("span", { class: "camera-text" }, make("span", { class: "camera-name" }),
      make("span", { class: "pill" }), make("span", { class: "muted numbers camera-more" }));
    const button = make("button", { type: "button", class: "camera" }, canvas, text);
    button.addEventListener("click", () => this.#onSelect(button.dataset.source));
    return make("li", {}, button);
  }

  #update(node, source) {
    const button = node.firstChild;
    const [name, pill, more] = button.lastChild.children;
    button.dataset.source = source.name;
    button.setAttribute("aria-pressed", String(source.name === this.#selected));
    setText(name, source.name);
    setPill(pill, ...cameraState(source));
    setText(more, moreOf(source));
  }

  async #refresh({ name, state, size_wh }) {
    const node = [...byId("cameras").children].find((each) => each.firstChild.dataset.source === name);
    const canvas = node?.querySelector("canvas");
    if (!canvas) return;
    try {
      if (name === this.#selected) {
        if (!byId("stage-empty").hidden) return; // nothing is drawn yet
        const large = byId("picture");
        canvas.width = 160;
        canvas.height = Math.round((160 * large.height) / large.width);
        canvas.getContext("2d").drawImage(large, 0, 0, canvas.width, canvas.height);
      } else if (state !== "lost" && size_wh) { // else there is no picture yet
        const response = await this.#service.fetch(`snapshot.jpg?source=${encodeURIComponent(name)}`);
        await new Player(this.#service, canvas, () => {}).draw(await response.blob());
      }
      canvas.classList.toggle("is-stale", state !== "live");
    } catch {
      canvas.classList.add("is-stale"); // its state says why
    }
  }
}

/** The kind and text of a source's state. */
export function cameraState({ state }) {
  return STATES[state] ?? ["wait", String(state)];
}

function moreOf(source) {
  if (source.state === "live") return `${decimal(source.fps)} fps`;
  return source.state === "lost" ? `for ${span(source.since_s)}` : "";
}

/** Everything that is known of a source, as terms and texts. */
function details(source) {
  const dropped = Object.entries(source.dropped ?? {}).filter(([, number]) => number);
  const all = dropped.reduce((sum, [, number]) => sum + number, 0);
  return [
    ["State", `${cameraState(source)[1]} since ${clock(new Date(Date.now() - source.since_s * 1000))}`],
    ...(source.reason ? [["Reason", source.reason]] : []),
    ["Rate", `${decimal(source.fps)} fps`],
    ["Age", ms(source.age_ms)],
    ["Frames", count(source.frames)],
    ["Reconnects", count(source.reconnects)],
    ["Dropped", dropped.length ? `${count(all)} (${dropped.map(([why, number]) => `${why} ${count(number)}`).join(", ")})` : "0"],
    ["Stream", source.description || "–"],
  ];
}

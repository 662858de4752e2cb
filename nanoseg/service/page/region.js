// A region that is drawn, and its lines for the configuration.

import { announce, byId } from "./dom.js";

const NAME = /^[A-Za-z0-9][A-Za-z0-9_.-]{0,63}$/; // as nanoseg/service/config.py takes it

/** Corners in pixels of the frame; calls `onChange()` when they change. */
export class RegionEditor {
  corners = [];
  #size_wh;
  #source;
  #onChange;

  /** `size_wh()` and `source()` return those of the picture that is shown. */
  constructor(size_wh, source, onChange) {
    this.#size_wh = size_wh;
    this.#source = source;
    this.#onChange = onChange;
    byId("region-name").addEventListener("input", () => this.#write());
    byId("region-form").addEventListener("submit", (event) => {
      event.preventDefault();
      this.#copy();
    });
  }

  show(shown) {
    byId("region-form").hidden = !shown;
    this.#write();
  }

  add(corner) {
    this.#set([...this.corners, corner]);
  }

  move(index, corner) {
    this.#set(this.corners.with?.(index, corner) ?? this.corners.map((each, at) => (at === index ? corner : each)));
  }

  undo() {
    this.#set(this.corners.slice(0, -1));
  }

  clear() {
    this.#set([]);
  }

  /** Return the index of the corner that is `px` or less away on the screen, or -1. */
  near([x, y], px) {
    const scale = byId("overlay").clientWidth / this.#size_wh()[0];
    return this.corners.findIndex((corner) => Math.hypot(corner[0] - x, corner[1] - y) * scale <= px);
  }

  #set(corners) {
    this.corners = corners;
    this.#write();
    this.#onChange();
  }

  #write() {
    const name = byId("region-name").value;
    const fault = this.#fault(name);
    const [width, height] = this.#size_wh();
    const fractions = this.corners.map(([x, y]) => [x / width, y / height]);
    byId("region-toml").value = fault || regionToml(this.#source() ?? "", name, fractions);
    byId("region-name").setAttribute("aria-invalid", String(!NAME.test(name)));
    byId("region-copy").disabled = fault !== "";
  }

  /** What is missing, in words. */
  #fault(name) {
    const missing = 3 - this.corners.length;
    if (missing > 0) return `Set ${missing} ${missing < 3 ? "more " : ""}corner${missing > 1 ? "s" : ""} in the picture.`;
    return NAME.test(name) ? "" : "The name wants letters, digits, '_', '-' and '.', and a letter or digit first.";
  }

  async #copy() {
    const area = byId("region-toml");
    try {
      await navigator.clipboard.writeText(area.value);
    } catch {
      // Browsers have no clipboard for pages over plain http.
      area.focus();
      area.select();
      if (!document.execCommand("copy")) {
        announce("The lines are selected: copy them with the keyboard.");
        return;
      }
    }
    byId("region-copy").textContent = "Copied";
    announce("The region's lines are copied.");
    setTimeout(() => (byId("region-copy").textContent = "Copy"), 2000);
  }
}

/** Return a `[[region]]` of the configuration; `corners` are fractions of the frame. */
export function regionToml(source, name, corners) {
  const points = corners.map((corner) => `[${corner.map(fraction).join(", ")}]`).join(", ");
  return `[[region]]\nsource = ${quote(source)}\nname = ${quote(name)}\npolygon = [${points}]\n`;
}

// TOML wants a digit after the point.
const fraction = (value) => value.toFixed(4).replace(/(\.\d+?)0+$/, "$1");

// TOML's basic strings are JSON's, but for DEL.
const quote = (text) => JSON.stringify(text).replaceAll("\x7f", "\\u007f");

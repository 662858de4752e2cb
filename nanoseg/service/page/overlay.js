// What is drawn over the picture: masks, prompts, regions, the cursor. In CSS pixels, so that lines stay thin.

import { byId, shape } from "./dom.js";
import { count, percent } from "./format.js";

export const COLOURS = 6; // of masks: --mask-0 and on in page.css

/** Draws a scene: `{size_wh, objects, current, regions, corners, box, cursor}`, all in pixels of the frame. */
export class Overlay {
  #svg = byId("overlay");
  #scene;
  #asked = false;

  /** `scene()` returns what is to be drawn. */
  constructor(scene) {
    this.#scene = scene;
    new ResizeObserver(() => this.draw()).observe(this.#svg);
  }

  /** Draw it all anew, with the next frame of the screen. */
  draw() {
    if (this.#asked) return;
    this.#asked = true;
    requestAnimationFrame(() => {
      this.#asked = false;
      this.#draw(this.#scene());
    });
  }

  #draw({ size_wh, objects, current, regions, corners, box, cursor }) {
    const width = this.#svg.clientWidth;
    const height = this.#svg.clientHeight;
    if (!width || !height) return;
    const at = ([x, y]) => [(x / size_wh[0]) * width, (y / size_wh[1]) * height];
    const round = (point) => at(point).map((value) => Math.round(value * 10) / 10);
    const path = (ring) => `M${ring.map((point) => round(point).join(" ")).join("L")}`;
    const nodes = [];
    const narrow = width < 480;

    for (const region of regions) {
      nodes.push(shape("path", { class: "region", d: `${path(region.polygon)}Z` }));
      const words = region.words && !narrow ? `${region.name}: ${region.words}` : region.name;
      nodes.push(label(round(topmost(region.polygon)), words, "region-label"));
    }
    for (const object of objects) {
      const group = shape("g", { class: "object", "data-colour": object.number % COLOURS });
      if (object.mask) {
        group.append(
          shape("path", { class: "mask", d: object.mask.polygons.map((ring) => `${path(ring)}Z`).join("") }),
          ...["outline-case", "outline"].map((name) => shape("path", { class: name, d: outline(object.mask.polygons, path) })),
        );
        const [x0, y0] = object.mask.xyxy;
        const parts = [`#${object.number}`, `${count(object.mask.area_px)} px`, percent(object.mask.mask_confidence)];
        group.append(label(round([x0, y0]), parts.slice(0, narrow ? 2 : 3).join(" · "), "mask-label"));
      }
      if (object === current) {
        if (object.box) group.append(rectangle(at, object.box, "prompt-box"));
        object.points.forEach((point, index) => group.append(dot(round(point), object.labels[index])));
      }
      nodes.push(group);
    }
    if (corners.length) {
      nodes.push(shape("path", { class: "drawing", d: `${path(corners)}${corners.length > 2 ? "Z" : ""}` }));
      for (const corner of corners) {
        const [cx, cy] = round(corner);
        nodes.push(shape("circle", { class: "corner", cx, cy, r: 6 }));
      }
    }
    if (box) nodes.push(rectangle(at, box, "rubber"));
    if (cursor) {
      const [x, y] = round(cursor);
      const d = `M${x - 16} ${y}H${x - 4}M${x + 4} ${y}H${x + 16}M${x} ${y - 16}V${y - 4}M${x} ${y + 4}V${y + 16}`;
      nodes.push(shape("path", { class: "cursor-case", d }), shape("path", { class: "cursor", d }));
    }
    this.#svg.replaceChildren(...nodes);
    fitLabels(this.#svg, width);
  }
}

/** The outline of polygons without the seams that join a hole with what is around it: those are walked both ways. */
function outline(polygons, path) {
  return polygons.map((ring) => {
    const next = (index) => ring[(index + 1) % ring.length];
    const ways = new Set(ring.map((point, index) => `${point}>${next(index)}`));
    return ring.map((point, index) => (ways.has(`${next(index)}>${point}`) ? "" : path([point, next(index)]))).join("");
  }).join("");
}

function rectangle(at, [x0, y0, x1, y1], name) {
  const [x, y] = at([Math.min(x0, x1), Math.min(y0, y1)]);
  const [right, bottom] = at([Math.max(x0, x1), Math.max(y0, y1)]);
  return shape("rect", { class: name, x, y, width: right - x, height: bottom - y, rx: 2 });
}

function dot([x, y], foreground) {
  const sign = foreground ? `M${x - 4} ${y}h8M${x} ${y - 4}v8` : `M${x - 4} ${y}h8`;
  return shape("g", { class: foreground ? "dot" : "dot background" },
    shape("circle", { cx: x, cy: y, r: 8 }), shape("path", { d: sign }));
}

function label([x, y], text, name) {
  return shape("g", { class: `label ${name}`, "data-x": x, "data-y": Math.max(22, y - 4) },
    shape("rect", { y: -20, height: 20, rx: 5 }), shape("text", { x: 7, y: -6 }, text));
}

/** Give labels, whose text is laid out by now, their width, and keep them within the picture. */
function fitLabels(svg, width) {
  for (const node of svg.querySelectorAll(".label")) {
    const long = node.lastChild.getComputedTextLength() + 14;
    node.firstChild.setAttribute("width", long);
    const x = Math.max(2, Math.min(Number(node.dataset.x), width - long - 2));
    node.setAttribute("transform", `translate(${x} ${node.dataset.y})`);
  }
}

function topmost(polygon) {
  return polygon.reduce((best, point) => (point[1] < best[1] ? point : best));
}

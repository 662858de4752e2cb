// Mouse, touch and keys on the picture, as points, boxes and corners in pixels of the frame.

import { announce, byId } from "./dom.js";
import { percent } from "./format.js";

const DRAG_PX = 5; // on the screen: less is a click
const LONG_PRESS_MS = 500;
const HINTS = {
  object: "Click what you want to segment, or drag a box around it. Right click, or long press: not part of it. Escape clears.",
  background: "Click what is not part of the object. Escape clears.",
  box: "Drag a box around an object. Escape clears.",
  region: "Click the corners of the region, and drag them where they should be. Escape clears.",
};
const ARROWS = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };

/**
 * `actions`: size_wh(), begin() as the pointer goes down, point(xy, foreground), box(xyxy), corner(xy), nearCorner(xy, px),
 * moveCorner(index, xy), undo(), clear(), redraw().
 */
export class Tools {
  tool = "object";
  box = null; // the one that is dragged
  cursor = null; // of the keyboard
  #actions;
  #stage = byId("stage");
  #down = null; // {id, xy, screen, type, foreground, corner, dragged}
  #corner = null; // the first one of a box by keyboard
  #last = null; // where the keyboard's cursor was when it was hidden

  constructor(actions) {
    this.#actions = actions;
  }

  /** Begin to listen. */
  start() {
    for (const input of document.querySelectorAll("input[name=tool]")) {
      input.addEventListener("change", () => this.choose(input.value));
      if (input.checked) this.choose(input.value);
    }
    const listen = (name, handler) => this.#stage.addEventListener(name, handler.bind(this));
    listen("pointerdown", this.#press);
    listen("pointermove", this.#move);
    listen("pointerup", this.#release);
    listen("pointercancel", this.#cancel);
    listen("contextmenu", (event) => event.preventDefault());
    listen("keydown", this.#key);
    listen("blur", () => this.#hideCursor());
  }

  choose(tool) {
    this.tool = tool;
    this.#stage.dataset.tool = tool;
    byId("hint").textContent = HINTS[tool];
    this.#actions.toolChanged(tool);
    this.cancel();
  }

  /** Drop what is half done. */
  cancel() {
    this.#cancel();
    this.#corner = null;
    this.#hideCursor();
  }

  #hideCursor() {
    this.#last = this.cursor ?? this.#last;
    this.cursor = null;
    this.#actions.redraw();
  }

  #at(event) {
    const { left, top, width, height } = byId("overlay").getBoundingClientRect();
    return this.#clamp([(event.clientX - left) / width, (event.clientY - top) / height]);
  }

  /** Fractions of the picture to pixels of the frame. */
  #clamp([x, y]) {
    const [width, height] = this.#actions.size_wh();
    const inside = (value, size) => Math.round(Math.min(Math.max(value * size, 0), size - 1) * 10) / 10;
    return [inside(x, width), inside(y, height)];
  }

  #press(event) {
    if (this.#down || event.button > 2 || event.button === 1) return;
    const xy = this.#at(event);
    const away = event.button === 2 || event.ctrlKey;
    const down = {
      id: event.pointerId, xy, screen: [event.clientX, event.clientY], type: event.pointerType, dragged: false,
      foreground: !away && this.tool !== "background", corner: -1,
    };
    this.#down = down;
    this.#corner = this.cursor = null;
    if (this.tool === "region") down.corner = this.#actions.nearCorner(xy, 14);
    // A finger that goes down may be about to scroll.
    else if (down.type !== "touch" || this.tool === "box") this.#actions.begin();
    if (down.type !== "touch" || this.#drags(down)) this.#stage.setPointerCapture(event.pointerId);
    if (down.type === "touch" && this.tool === "object") {
      down.timer = setTimeout(() => {
        this.#down = null;
        this.#actions.point(xy, false);
      }, LONG_PRESS_MS);
    }
  }

  #drags(down) {
    if (this.tool === "region") return true;
    return down.foreground && (this.tool === "box" || (this.tool === "object" && down.type !== "touch"));
  }

  #move(event) {
    const down = this.#down;
    if (event.pointerId !== down?.id) return;
    const moved = Math.hypot(event.clientX - down.screen[0], event.clientY - down.screen[1]);
    if (moved > DRAG_PX) {
      down.dragged = true;
      clearTimeout(down.timer);
    }
    if (!down.dragged || !this.#drags(down)) return;
    if (this.tool !== "region") this.box = [...down.xy, ...this.#at(event)];
    else if (down.corner >= 0) this.#actions.moveCorner(down.corner, this.#at(event));
    this.#actions.redraw();
  }

  #release(event) {
    const down = this.#down;
    if (event.pointerId !== down?.id) return;
    const { box } = this;
    this.#cancel();
    if (this.tool === "region") {
      if (down.corner < 0 && down.foreground) this.#actions.corner(this.#at(event));
    } else if (box) this.#actions.box(box);
    else if (this.tool !== "box" || !down.foreground) this.#actions.point(down.xy, down.foreground);
    this.#actions.redraw();
  }

  #cancel() {
    clearTimeout(this.#down?.timer);
    this.#down = this.box = null;
  }

  #key(event) {
    if (event.altKey || event.metaKey || event.ctrlKey) return;
    const arrow = ARROWS[event.key];
    if (arrow) this.#moveCursor(arrow, event.shiftKey ? 0.004 : 0.025);
    else if (event.key === "Enter" || event.key === " ") this.#set();
    else if (event.key === "Backspace") this.#actions.undo();
    else return;
    event.preventDefault();
    this.#actions.redraw();
  }

  #moveCursor([dx, dy], step) {
    if (this.tool !== "region") this.#actions.begin();
    const [width, height] = this.#actions.size_wh();
    const [x, y] = this.cursor ?? this.#last ?? [width / 2, height / 2];
    this.cursor = this.#clamp([x / width + dx * step, y / height + dy * step * (width / height)]);
    if (this.#corner) this.box = [...this.#corner, ...this.cursor];
    announce(`Cursor ${percent(this.cursor[0] / width)} from the left, ${percent(this.cursor[1] / height)} from the top`);
  }

  #set() {
    const [width, height] = this.#actions.size_wh();
    this.cursor ??= this.#last ?? this.#clamp([0.5, 0.5]);
    if (this.tool === "region") {
      this.#actions.corner(this.cursor);
      announce(`Corner at ${percent(this.cursor[0] / width)}, ${percent(this.cursor[1] / height)}`);
    } else if (this.tool !== "box") this.#actions.point(this.cursor, this.tool === "object");
    else if (this.#corner) {
      this.#actions.box([...this.#corner, ...this.cursor]);
      this.#corner = this.box = null;
    } else {
      this.#actions.begin();
      this.#corner = this.cursor;
      announce("First corner of the box is set. Move the cursor to the opposite one.");
    }
  }
}

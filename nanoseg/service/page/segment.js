// Objects that the user points at: their prompts, and the masks that the service answers.

import { count, percent } from "./format.js";

/** Calls `onChange()` when anything changed, `say(text)` with each result and error. */
export class Segmenting {
  objects = []; // {number, box, points, labels, steps, mask, waiting}
  current = null;
  busy = 0;
  #service;
  #picture;
  #onChange;
  #say;

  constructor(service, picture, onChange, say) {
    this.#service = service;
    this.#picture = picture;
    this.#onChange = onChange;
    this.#say = say;
  }

  /** Add a point to the current object, or to a new one. */
  addPoint(point, foreground) {
    if (!this.current && !foreground) {
      this.#say("Point at an object first; then at what is not part of it.");
      return undefined;
    }
    const object = this.current ?? this.#newObject();
    object.points.push(point);
    object.labels.push(foreground ? 1 : 0);
    object.steps.push("point");
    return this.#ask(object);
  }

  /** Begin a new object with a box. */
  addBox([x0, y0, x1, y1]) {
    const object = this.#newObject();
    object.box = [Math.min(x0, x1), Math.min(y0, y1), Math.max(x0, x1), Math.max(y0, y1)];
    object.steps.push("box");
    return this.#ask(object);
  }

  /** Let the next point begin a new object. */
  finish() {
    this.current = null;
    this.#onChange();
  }

  /** Take back the last prompt of the current object. */
  undo() {
    const object = this.current ?? this.objects.at(-1);
    if (!object) return undefined;
    this.current = object;
    if (object.steps.pop() === "box") object.box = null;
    else {
      object.points.pop();
      object.labels.pop();
    }
    if (object.steps.length) return this.#ask(object);
    return this.remove(object);
  }

  remove(object) {
    object.asked?.abort();
    this.objects = this.objects.filter((each) => each !== object);
    if (this.current === object) this.current = null;
    this.#say("");
    this.#onChange();
  }

  clear() {
    for (const object of this.objects) object.asked?.abort();
    this.objects = [];
    this.current = null;
    this.#say("");
    this.#onChange();
  }

  #newObject() {
    const number = Math.max(0, ...this.objects.map((object) => object.number)) + 1;
    this.current = { number, box: null, points: [], labels: [], steps: [], mask: null, asked: null, waiting: false };
    this.objects.push(this.current);
    return this.current;
  }

  async #ask(object) {
    object.asked?.abort(); // the newest request has all prompts
    const { signal } = (object.asked = new AbortController());
    this.busy++;
    object.waiting = true;
    this.#onChange();
    try {
      const { embedding } = await this.#picture.hold();
      if (signal.aborted) return;
      const { masks } = await this.#service.segment({ frame: embedding, prompts: JSON.stringify(prompts(object)) }, signal);
      object.mask = masks[0]?.area_px ? masks[0] : null;
      this.#say(object.mask ? describe(object) : `Object ${object.number}: nothing was segmented there.`);
    } catch (error) {
      if (!signal.aborted) this.#fail(object, error);
    } finally {
      this.busy--;
      if (!signal.aborted) object.waiting = false;
      this.#onChange();
    }
  }

  #fail(object, error) {
    if (error.status === 410) {
      this.clear();
      this.#picture.resume();
      this.#say("The service no longer keeps that picture. Click again to segment the present one.");
      return;
    }
    if (!object.mask) this.remove(object);
    this.#say(`Not segmented: ${error.message}`);
  }
}

function describe({ number, mask }) {
  return `Object ${number}: ${count(mask.area_px)} px, confidence ${percent(mask.mask_confidence)}`;
}

function prompts({ box, points, labels }) {
  return { boxes: box && [box], points: points.length ? [points] : null, labels: points.length ? [labels] : null };
}

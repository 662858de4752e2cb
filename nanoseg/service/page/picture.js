// The large picture: live, or held while objects are segmented in it.

import { ServiceError } from "./api.js";
import { byId } from "./dom.js";
import { Player } from "./player.js";

const LATE_MS = 3000; // without a picture, and a live one is marked as stale

/** Calls `onChange()` when it is held, live again, or its size has changed. */
export class Picture {
  size_wh = [640, 480]; // of the frame that prompts and outlines are in
  held = null; // {embedding, size} of the held picture
  source = null;
  #service;
  #player;
  #stage = byId("stage");
  #canvas = byId("picture");
  #onChange;
  #holding = null;
  #started_ms = performance.now();
  #masks = true;

  constructor(service, onChange) {
    this.#service = service;
    this.#onChange = onChange;
    this.#player = new Player(service, this.#canvas, () => this.#drawn());
  }

  /** Play a source, with or without the masks of what was found. */
  play(source, masks) {
    if (source !== this.source) {
      this.#canvas.getContext("2d").clearRect(0, 0, this.#canvas.width, this.#canvas.height);
      byId("stage-empty").hidden = false;
      this.#player.shown_ms = null;
    }
    this.source = source;
    this.#masks = masks;
    this.#started_ms = performance.now();
    if (!this.#holding) {
      this.#player.play(`stream.mjpg?source=${encodeURIComponent(source)}&overlay=${masks ? 1 : 0}`);
    }
  }

  stop() {
    this.#player.stop();
  }

  /** Open the stream anew where it should play and nothing has come for long: its connection may be dead. */
  reviveStream() {
    if (!this.#holding && this.source !== null && this.silence_ms > 4 * LATE_MS) this.play(this.source, this.#masks);
  }

  /** Milliseconds since the last picture was drawn, or since the stream was asked for. */
  get silence_ms() {
    return performance.now() - Math.max(this.#player.shown_ms ?? 0, this.#started_ms);
  }

  get late() {
    return this.silence_ms > LATE_MS;
  }

  /** Milliseconds since the last picture was drawn; null where there was none. */
  get age_ms() {
    return this.#player.shown_ms === null ? null : performance.now() - this.#player.shown_ms;
  }

  /** Hold the picture: returns a promise of its `{embedding, size}`. The same one as long as it is held. */
  hold() {
    if (!this.#holding) {
      const wanted = () => this.#holding === holding;
      const holding = this.#embed(wanted);
      this.#holding = holding;
      holding.catch(() => wanted() && this.resume());
    }
    return this.#holding;
  }

  /** Go on live. */
  resume() {
    if (!this.#holding) return;
    this.#holding = null;
    this.held = null;
    this.#player.frozen = false;
    this.play(this.source, this.#masks);
    this.#onChange();
  }

  async #embed(wanted) {
    const { source } = this;
    if (source === null) throw new ServiceError("There is no camera.", 0);
    this.#player.frozen = true;
    const { embedding, size } = await this.#service.segment({ source });
    const path = `snapshot.jpg?frame=${encodeURIComponent(embedding)}&overlay=0`;
    const blob = await (await this.#service.fetch(path)).blob();
    if (wanted()) this.#player.stop();
    if (!(await this.#player.draw(blob, wanted))) throw new ServiceError("The picture has changed.", 0);
    byId("stage-empty").hidden = true;
    this.held = { embedding, size };
    this.#resize([size[1], size[0]]);
    this.#onChange();
    return this.held;
  }

  #drawn() {
    byId("stage-empty").hidden = true;
    const { width, height } = this.#canvas;
    const [w, h] = this.size_wh;
    // A stream may be smaller than its frames: only another shape is another size.
    if (Math.abs(width * h - height * w) > 2 * Math.max(w, h)) this.#resize([width, height]);
  }

  /** Take the size of the source's frames. */
  #resize(size_wh) {
    this.size_wh = size_wh;
    this.#stage.style.setProperty("--ratio", size_wh[0] / size_wh[1]);
    this.#onChange();
  }

  setSize(size_wh) {
    if (size_wh && !this.held && String(size_wh) !== String(this.size_wh)) this.#resize(size_wh);
  }
}

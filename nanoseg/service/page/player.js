// A motion JPEG stream played on a canvas. An <img> shows such streams too, but cannot tell when one has stopped.

const RETRY_MS = 1000;

/** Calls `onFrame()` after each picture that was drawn. */
export class Player {
  shown_ms = null; // when the last picture was drawn; of performance.now()
  frozen = false; // the stream goes on, and is not drawn
  #service;
  #canvas;
  #onFrame;
  #stop = null;
  #waiting = null; // the newest picture that came while another one was decoded, and its stream's signal
  #decoding = false;

  constructor(service, canvas, onFrame) {
    this.#service = service;
    this.#canvas = canvas;
    this.#onFrame = onFrame;
  }

  /** Play a path, from now on until `stop`; a stream that ends is opened again. */
  async play(path) {
    this.stop();
    const { signal } = (this.#stop = new AbortController());
    while (!signal.aborted) {
      try {
        const response = await this.#service.fetch(path, { signal });
        for await (const picture of parts(response.body)) {
          if (signal.aborted) return;
          this.#show(picture, signal);
        }
      } catch (error) {
        if (signal.aborted || error.status === 401) return;
      }
      await new Promise((resolve) => setTimeout(resolve, RETRY_MS));
    }
  }

  stop() {
    this.#stop?.abort();
    this.#waiting = null;
  }

  /** Draw a picture (a Blob), as the stream's are, if it is still wanted once it is decoded; returns whether it was. */
  async draw(blob, wanted = () => true) {
    const bitmap = await createImageBitmap(blob);
    if (!wanted()) {
      bitmap.close();
      return false;
    }
    if (this.#canvas.width !== bitmap.width) this.#canvas.width = bitmap.width;
    if (this.#canvas.height !== bitmap.height) this.#canvas.height = bitmap.height;
    this.#canvas.getContext("2d").drawImage(bitmap, 0, 0);
    bitmap.close();
    return true;
  }

  async #show(picture, signal) {
    this.#waiting = { picture, signal };
    if (this.#decoding) return;
    this.#decoding = true;
    while (this.#waiting && !this.frozen) {
      const next = this.#waiting;
      this.#waiting = null;
      try {
        if (!(await this.draw(next.picture, () => !next.signal.aborted && !this.frozen))) continue;
        this.shown_ms = performance.now();
        this.#onFrame();
      } catch {
        // A damaged picture: the next one comes soon.
      }
    }
    this.#decoding = false;
  }
}

/** Yield the body of each part as a Blob; every part states its Content-Length. */
async function* parts(body) {
  const reader = body.getReader();
  let bytes = new Uint8Array(0);
  const more = async () => {
    const { done, value } = await reader.read();
    if (done) throw new Error("the stream has ended");
    const joined = new Uint8Array(bytes.length + value.length);
    joined.set(bytes);
    joined.set(value, bytes.length);
    bytes = joined;
  };
  try {
    for (;;) {
      let end;
      while ((end = headEnd(bytes)) < 0) await more();
      const head = new TextDecoder("latin1").decode(bytes.subarray(0, end));
      const length = Number(/^content-length: *(\d+)/im.exec(head)?.[1]);
      if (!length) throw new Error("a part without its length");
      while (bytes.length < end + length) await more();
      yield new Blob([bytes.subarray(end, end + length)], { type: "image/jpeg" });
      bytes = bytes.slice(end + length);
    }
  } finally {
    reader.cancel().catch(() => {});
  }
}

/** Where the header of the first part ends, or -1. */
function headEnd(bytes) {
  for (let at = 3; at < bytes.length; at++) {
    if (bytes[at] === 10 && bytes[at - 1] === 13 && bytes[at - 2] === 10 && bytes[at - 3] === 13) return at + 1;
  }
  return -1;
}

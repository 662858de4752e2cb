// The connection to the service: its state and records as they come, and the way back after it was lost.

const SILENCE_MS = 5000; // /events has a state each second
const RETRY_MS = [1000, 2000, 3000, 5000];

/**
 * Calls `handlers.onPhase(phase, error)` with "connecting", "up", "down" or "token" (none was given), and
 * `handlers.onState(state)`, `handlers.onRecord(record)`.
 */
export class Connection {
  phase = "connecting";
  #service;
  #handlers;
  #source = "";
  #events = null;
  #before = null; // the events that #events take over from once they are open
  #heard_ms = 0;
  #tries = 0;
  #retry;
  #renewal;
  #run = 0; // what an earlier run still waits for is dropped

  constructor(service, handlers) {
    this.#service = service;
    this.#handlers = handlers;
    setInterval(() => this.#listen(), 1000);
  }

  /** Connect, now. */
  async start() {
    const run = this.#close();
    try {
      const state = await this.#service.json("state", { timeout_ms: SILENCE_MS });
      if (run !== this.#run) return;
      this.#handlers.onState(state); // which may choose the source, and so open the events
      if (run === this.#run) await this.#open(run);
    } catch (error) {
      if (run === this.#run) this.#lose(error);
    }
  }

  /** Close it without a word, as the page is not seen. */
  stop() {
    this.#close();
    this.phase = "connecting";
  }

  /** Get the records of another source. */
  async select(source) {
    if (source === this.#source) return;
    this.#source = source;
    const run = this.#close();
    try {
      await this.#open(run);
    } catch (error) {
      if (run === this.#run) this.#lose(error);
    }
  }

  #close() {
    clearTimeout(this.#retry);
    clearTimeout(this.#renewal);
    this.#before?.close();
    this.#events?.close();
    this.#before = this.#events = null;
    return ++this.#run;
  }

  async #open(run) {
    const query = this.#source ? `?source=${encodeURIComponent(this.#source)}` : "";
    const { url, expires_in_s } = await this.#service.signed(`events${query}`);
    if (run !== this.#run) return;
    const events = new EventSource(url);
    this.#before?.close();
    this.#before = this.#events;
    this.#events = events;
    this.#heard_ms = performance.now();
    const hear = (handler) => (event) => {
      if (this.#events !== events) return;
      this.#heard_ms = performance.now();
      handler(JSON.parse(event.data));
    };
    events.addEventListener("state", hear((state) => this.#handlers.onState(state)));
    events.addEventListener("record", hear((record) => this.#handlers.onRecord(record)));
    events.onopen = () => {
      if (this.#events !== events) return;
      this.#before?.close();
      this.#tries = 0;
      this.#enter("up");
    };
    events.onerror = () => {
      if (this.#events === events) this.#lose(null);
      else events.close();
    };
    // The next one is opened before the signature of this one ends.
    if (expires_in_s) this.#renewal = setTimeout(() => this.#renew(run), expires_in_s * 750);
  }

  async #renew(run) {
    try {
      await this.#open(run);
    } catch (error) {
      if (run === this.#run) this.#lose(error);
    }
  }

  #listen() {
    if (this.#events && performance.now() - this.#heard_ms > SILENCE_MS) this.#lose(null);
  }

  #lose(error) {
    this.#close();
    if (error?.status === 401) {
      this.#enter("token", error);
      return;
    }
    this.#enter("down", error);
    const wait_ms = RETRY_MS[Math.min(this.#tries++, RETRY_MS.length - 1)];
    this.#retry = setTimeout(() => this.start(), wait_ms);
  }

  #enter(phase, error = null) {
    if (phase === this.phase && !error) return;
    this.phase = phase;
    this.#handlers.onPhase(phase, error);
  }
}

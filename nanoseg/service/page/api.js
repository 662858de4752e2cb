// Requests to the service: with the token where one is wanted, and errors as one line of text.

const KEPT_AS = "nanoseg.token";

const TRIES = 3; // of a service that is busy

/** What went wrong, in one line; `status` is 0 where the service did not answer, `retry_s` when to try again, or 0. */
export class ServiceError extends Error {
  constructor(message, status, retry_s = 0) {
    super(message);
    this.status = status;
    this.retry_s = retry_s;
  }
}

export class Service {
  #askToken;
  #asking = null;
  #token = keptToken();

  /** `askToken(rejected)` returns a promise of a token; it rejects where none is given. */
  constructor(askToken) {
    this.#askToken = askToken;
  }

  /** Send a request; `timeout_ms` is how long its headers may take. Throws a ServiceError for what is not 2xx. */
  async fetch(path, { timeout_ms = 15000, ...options } = {}) {
    for (;;) {
      const token = this.#token;
      const response = await send(path, token, timeout_ms, options);
      if (response.ok) return response;
      const retry_s = Number(response.headers.get("Retry-After")) || 0;
      if (response.status !== 401) throw new ServiceError(await errorText(response), response.status, retry_s);
      if (token === this.#token) await this.#renewToken();
    }
  }

  async json(path, options) {
    return (await this.fetch(path, options)).json();
  }

  /** Post a form to /segment; where the service is busy, try again when it says so. */
  async segment(fields, signal) {
    const body = new FormData();
    for (const [name, value] of Object.entries(fields)) body.set(name, value);
    for (let left = TRIES - 1; ; left--) {
      try {
        return await this.json("segment", { method: "POST", body, signal, timeout_ms: 30000 });
      } catch (error) {
        if (!error.retry_s || !left) throw error;
        await new Promise((resolve) => setTimeout(resolve, error.retry_s * 1000));
        if (signal?.aborted) throw error;
      }
    }
  }

  /** Return `{url, expires_in_s}`, a path that works without headers; it expires only where a token is in use. */
  async signed(path) {
    if (!this.#token) return { url: path, expires_in_s: null };
    const headers = { "Content-Type": "application/json" };
    const { url, expires_in_s } = await this.json("sign", {
      method: "POST", headers, body: JSON.stringify({ path: `/${path}` }),
    });
    return { url: url.replace(/^\//, ""), expires_in_s };
  }

  #renewToken() {
    this.#asking ??= this.#askToken(this.#token !== "")
      .then((token) => {
        this.#token = token;
        keepToken(token);
      })
      .finally(() => {
        this.#asking = null;
      });
    return this.#asking;
  }
}

async function send(path, token, timeout_ms, { signal, headers = {}, ...options }) {
  const stop = new AbortController();
  const abort = () => stop.abort();
  if (signal?.aborted) abort();
  signal?.addEventListener("abort", abort);
  const timer = setTimeout(abort, timeout_ms);
  const authorization = token ? { Authorization: `Bearer ${token}` } : {};
  try {
    return await fetch(path, { ...options, headers: { ...headers, ...authorization }, signal: stop.signal, cache: "no-store" });
  } catch (error) {
    if (signal?.aborted) throw error;
    throw new ServiceError("The service does not answer.", 0);
  } finally {
    clearTimeout(timer);
  }
}

async function errorText(response) {
  try {
    const { error } = await response.json();
    if (typeof error === "string" && error) return error;
  } catch {
    // Not JSON: an answer of something before the service, such as a proxy.
  }
  return `The service answered ${response.status} ${response.statusText}`.trim();
}

// Browsers that block storage throw: the token then lasts as long as the page.
function keptToken() {
  try {
    return sessionStorage.getItem(KEPT_AS) ?? "";
  } catch {
    return "";
  }
}

function keepToken(token) {
  try {
    sessionStorage.setItem(KEPT_AS, token);
  } catch {
    // See above.
  }
}

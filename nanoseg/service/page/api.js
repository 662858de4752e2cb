// Requests to the service: with the token where one is wanted, and errors as one line of text.

const KEPT_AS = "nanoseg.token";

/** What went wrong, in one line; `status` is 0 where the service did not answer. */
export class ServiceError extends Error {
  constructor(message, status) {
    super(message);
    this.status = status;
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
      if (response.status !== 401) throw new ServiceError(await errorText(response), response.status);
      if (token === this.#token) await this.#renewToken();
    }
  }

  async json(path, options) {
    return (await this.fetch(path, options)).json();
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

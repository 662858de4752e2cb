// One window on the page, and what is heard of it: errors, requests to other hosts, what is sent to /segment.

export class Visit {
  errors = []; // of the console, and uncaught
  strangers = []; // requests to another host
  prompts = []; // {frame, source, prompts} of each POST /segment
  paths = []; // of all requests

  static async of(context, url) {
    const visit = new Visit();
    visit.context = context;
    visit.page = await context.newPage();
    visit.page.setDefaultTimeout(40000);
    visit.#listen(new URL(url).origin);
    await visit.page.goto(url);
    return visit;
  }

  #listen(origin) {
    const { page } = this;
    page.on("console", (message) => ["error", "warning"].includes(message.type()) && this.errors.push(message.text()));
    page.on("pageerror", (error) => this.errors.push(String(error)));
    page.on("request", (request) => {
      const { origin: to, protocol, pathname } = new URL(request.url());
      if (protocol === "http:" || protocol === "https:") {
        if (to !== origin) this.strangers.push(request.url());
        this.paths.push(pathname);
      } else if (!["blob:", "data:"].includes(protocol)) this.strangers.push(request.url());
      if (pathname === "/segment") this.prompts.push(fields(request.postData() ?? ""));
    });
  }

  text(selector) {
    return this.page.locator(selector).innerText();
  }

  /** Wait until an element's text matches. */
  async until(selector, pattern, timeout = 40000) {
    await this.page.locator(selector).filter({ hasText: pattern, visible: true }).first().waitFor({ timeout });
    return this.text(selector);
  }

  /** Wait until a picture has changed; whether it did so `times` times within 20 s. */
  async moves(selector = "#picture", times = 2) {
    const seen = new Set();
    for (const end = Date.now() + 20000; Date.now() < end && seen.size <= times; await this.page.waitForTimeout(100)) {
      seen.add(await this.#pixels(selector));
    }
    return seen.size > times;
  }

  /** Whether the picture stays as it is for a second. */
  async rests() {
    const before = await this.#pixels("#picture");
    await this.page.waitForTimeout(1000);
    return before === (await this.#pixels("#picture"));
  }

  #pixels(selector) {
    return this.page.locator(selector).first().evaluate((canvas) => {
      const small = document.createElement("canvas");
      small.width = small.height = 24;
      const context = small.getContext("2d");
      context.drawImage(canvas, 0, 0, 24, 24);
      return context.getImageData(0, 0, 24, 24).data.join();
    });
  }

  /** A place in the picture, of fractions, as x and y in the window. */
  async place(x, y) {
    const box = await this.page.locator("#overlay").boundingBox();
    return [box.x + x * box.width, box.y + y * box.height];
  }

  async click(x, y, button = "left") {
    await this.page.mouse.click(...(await this.place(x, y)), { button });
  }

  async drag(x0, y0, x1, y1) {
    await this.page.mouse.move(...(await this.place(x0, y0)));
    await this.page.mouse.down();
    await this.page.mouse.move(...(await this.place(x1, y1)), { steps: 5 });
    await this.page.mouse.up();
  }

  /** Wait until `number` objects are answered and nothing is asked for; returns their areas in pixels. */
  async areas(number) {
    await this.page.waitForFunction((wanted) => (
      document.querySelectorAll("#selections li").length === wanted
      && document.getElementById("stage").getAttribute("aria-busy") === "false"
    ), number);
    const texts = await this.page.locator("#selections li").allInnerTexts();
    return texts.map((text) => Number(/([\d,]+) px/.exec(text)?.[1].replaceAll(",", "") ?? 0));
  }

  /** Bytes of the page's own files. */
  bytes() {
    return this.page.evaluate(() => (
      [...performance.getEntriesByType("navigation"), ...performance.getEntriesByType("resource")]
        .filter(({ name, entryType }) => entryType === "navigation" || new URL(name).pathname.startsWith("/page/"))
        .reduce((sum, { decodedBodySize }) => sum + decodedBodySize, 0)
    ));
  }

  /** Click until something is segmented; returns where, in fractions. */
  async clickObject() {
    for (const at of [[0.5, 0.5], [0.3, 0.4], [0.7, 0.4], [0.3, 0.7], [0.7, 0.7]]) {
      await this.click(...at);
      if ((await this.areas(1))[0]) return at;
      await this.page.keyboard.press("Escape");
    }
    throw new Error("nothing is segmented anywhere");
  }

  width() {
    return this.page.evaluate(() => document.scrollingElement.scrollWidth);
  }
}

function fields(body) {
  const found = {};
  for (const [, name, value] of body.matchAll(/name="(\w+)"\r\n\r\n([^]*?)\r\n--/g)) found[name] = value;
  if (found.prompts) found.prompts = JSON.parse(found.prompts);
  return found;
}

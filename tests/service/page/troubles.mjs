// Tokens, lost connections and cameras, and names that look like HTML.

import { connect, createServer } from "node:net";

/** A way to the service that can be cut; `url` is the near end. */
async function cuttable(url) {
  const { port, hostname } = new URL(url);
  const sockets = new Set();
  const server = createServer((near) => {
    const far = connect(Number(port), hostname);
    for (const [socket, other] of [[near, far], [far, near]]) {
      sockets.add(socket);
      socket.on("close", () => {
        sockets.delete(socket);
        other.destroy();
      });
      socket.on("error", () => {});
    }
    near.pipe(far).pipe(near);
  });
  const listen = (at) => new Promise((resolve) => server.listen(at, "127.0.0.1", resolve));
  await listen(0);
  const near = server.address().port;
  return {
    url: `http://127.0.0.1:${near}/`,
    cut() {
      server.close();
      for (const socket of sockets) socket.destroy();
    },
    mend: () => listen(near),
    hang(still) {
      for (const socket of sockets) still ? socket.pause() : socket.resume();
    },
  };
}

/** The connection is lost and comes back, by a cut and by silence. */
export async function lost(open, { url }) {
  const way = await cuttable(url);
  const visit = await open({ url: way.url });
  const { page } = visit;
  await visit.until("#connection", "Connected");
  await visit.moves();
  way.cut();
  const saw = { pill: await visit.until("#connection", "No connection") };
  saw.banner = await visit.text("#banner-text");
  saw.stale = await visit.until("#stale", "old");
  saw.title = await page.title();
  await page.waitForTimeout(2500);
  await way.mend();
  await visit.until("#connection", "Connected");
  saw.movesAgain = await visit.moves();
  await page.locator("#stale").waitFor({ state: "hidden" });
  saw.banners = await page.locator("#banner").isVisible();
  way.hang(true);
  saw.silent = await visit.until("#connection", "No connection");
  way.hang(false);
  await page.locator("#banner-button").click();
  await visit.until("#connection", "Connected");
  saw.movesAfterSilence = await visit.moves();
  const hide = (hidden) => page.evaluate((value) => {
    Object.defineProperty(document, "hidden", { value, configurable: true });
    document.dispatchEvent(new Event("visibilitychange"));
  }, hidden);
  await hide(true);
  await page.waitForTimeout(500);
  saw.restsHidden = await visit.rests();
  await hide(false);
  saw.movesSeen = await visit.moves();
  way.cut();
  await page.close();
  return saw;
}

/** The token is asked for, kept, and what it signs is renewed in time. */
export async function token(open, { token: right, url }) {
  const visit = await open();
  const { page } = visit;
  const give = async (text) => {
    await page.locator("#token").fill(text);
    await page.locator("#token").press("Enter");
  };
  const saw = { why: await visit.until("#token-why", /./) };
  saw.focused = await page.evaluate(() => document.activeElement.id);
  await page.keyboard.press("Escape");
  saw.cancelled = await visit.until("#banner-text", /./);
  await page.locator("#banner-button").click();
  await give("wrong");
  saw.wrong = await visit.until("#token-why", "not accept");
  await give(right);
  await visit.until("#connection", "Connected");
  saw.moves = await visit.moves();
  saw.kept = await page.evaluate(() => Object.values({ ...sessionStorage }));
  const pills = page.evaluate(() => new Promise((resolve) => {
    const seen = [];
    new MutationObserver(() => seen.push(document.getElementById("connection").textContent)).observe(
      document.getElementById("connection"), { childList: true, subtree: true, characterData: true, attributes: true },
    );
    setTimeout(() => resolve(seen), 7000);
  }));
  saw.pills = await pills;
  saw.signed = visit.paths.filter((path) => path === "/sign").length;
  saw.opened = visit.paths.filter((path) => path === "/events").length;
  saw.movesLater = await visit.moves();
  await visit.click(0.5, 0.5);
  saw.areas = await visit.areas(1);
  await page.reload();
  await visit.until("#connection", "Connected");
  saw.asked = await page.locator("#token-dialog").isVisible();
  saw.url = page.url() === url;
  return saw;
}

/** A camera is lost, pictures are forgotten, nothing is found: only the fake does this. */
export async function faults(open, { url }) {
  const fault = (body) => fetch(new URL("fake", url), { method: "POST", body: JSON.stringify(body) });
  const visit = await open();
  const { page } = visit;
  await visit.until("#connection", "Connected");
  await visit.moves();
  const [name] = await page.locator(".camera .camera-name").allInnerTexts();
  await fault({ state: [name, "lost", "10.0.0.7: no route to host"] });
  const saw = { pill: await visit.until("#camera-state", "Lost") };
  saw.stale = await visit.until("#stale", "old");
  saw.details = await visit.until("#camera-details", "no route");
  saw.objects = await visit.until("#objects-empty", "not live");
  saw.spoken = await page.locator("#announce").textContent();
  await fault({ state: [name, "live", ""] });
  await visit.until("#camera-state", "Live");
  saw.movesAgain = await visit.moves();
  await page.locator("#stale").waitFor({ state: "hidden" });
  await fault({ objects: false });
  saw.none = await visit.until("#objects-empty", "Nothing");
  await fault({ objects: true, busy: 2 });
  await visit.click(0.5, 0.5);
  saw.afterBusy = await visit.areas(1);
  await fault({ busy: 9 });
  await visit.click(0.55, 0.5);
  saw.busy = await visit.until("#result", "Not segmented");
  await fault({ forget: true });
  await visit.click(0.53, 0.5, "right");
  saw.forgotten = await visit.until("#result", "no longer");
  saw.goesOn = await visit.moves();
  return saw;
}

/** Names of cameras and regions are text, whatever they look like. */
export async function hostile(open) {
  const visit = await open();
  const { page } = visit;
  await visit.until("#connection", "Connected");
  const saw = { moves: await visit.moves() };
  saw.name = await visit.text("#camera-name");
  saw.images = await page.locator("img").count();
  saw.bold = await page.locator("b, script:not([src])").count();
  saw.regions = await page.locator("#regions .name").allInnerTexts();
  saw.width = await visit.width();
  return saw;
}

/** A service without a camera. */
export async function empty(open) {
  const visit = await open();
  await visit.until("#connection", "Connected");
  return {
    cameras: await visit.until("#cameras-empty", /./),
    objects: await visit.until("#objects-empty", "configured"),
    regions: await visit.until("#regions-empty", /./),
    state: await visit.page.locator("#camera-state").isVisible(),
    stage: await visit.text("#stage"),
  };
}

// What the page shows, and to whom: scenarios without a fault.

import { readFileSync } from "node:fs";
import { createRequire } from "node:module";

const axeSource = readFileSync(createRequire(import.meta.url).resolve("axe-core/axe.min.js"), "utf8");

/** The panels fill, pictures move, another camera can be chosen. */
export async function live(open) {
  const visit = await open();
  const { page } = visit;
  await visit.until("#connection", "Connected");
  const moves = await visit.moves();
  await page.locator("#latency .line").first().waitFor({ state: "attached" });
  await page.locator("#objects li").first().waitFor();
  const names = await page.locator(".camera .camera-name").allInnerTexts();
  const saw = {
    moves,
    names,
    snapshotMoves: names.length > 1 ? await visit.moves(".camera[aria-pressed=false] canvas", 1) : null,
    state: await visit.text("#camera-state"),
    details: await visit.text("#camera-details"),
    tiles: await visit.text("#tiles"),
    stages: await page.locator("#latency .legend").innerText(),
    ages: await page.locator("#age .legend").innerText(),
    objects: await page.locator("#objects li").allInnerTexts(),
    device: await visit.text("#device"),
    stale: await page.locator("#stale").isVisible(),
    title: await page.title(),
    bytes: await visit.bytes(),
    policy: (await page.request.get(page.url())).headers()["content-security-policy"],
  };
  await page.locator("#show-masks").uncheck();
  saw.movesPlain = await visit.moves();
  if (names.length > 1) {
    await page.locator(".camera").nth(1).click();
    await visit.until("#camera-name", names[1]);
    saw.secondMoves = await visit.moves();
    saw.ratio = await page.locator("#overlay").evaluate((node) => node.clientWidth / node.clientHeight);
  }
  return saw;
}

/** Of a service that is no fake: the picture moves, a click draws a mask; `picture` is where to show it all, if at all. */
export async function real(open, { picture: path }) {
  const visit = await open();
  const { page } = visit;
  await visit.until("#connection", "Connected");
  const saw = { moves: await visit.moves() };
  await page.locator("#objects li").first().waitFor();
  if (path) await page.waitForTimeout(40000); // so that the charts have something to show
  saw.shares = [];
  for (let tries = 0; tries < 8 && !(saw.shares.at(-1) > 0.3); tries++) {
    if (tries) await page.keyboard.press("Escape");
    const { at, area_px } = await page.evaluate(somethingFound, tries);
    await visit.click(...at);
    saw.shares.push((await visit.areas(1))[0] / area_px);
  }
  saw.drawn = await page.locator("#overlay .mask").count();
  if (path) await page.screenshot({ path, type: "jpeg", quality: 80 });
  await page.keyboard.press("Escape");
  saw.goesOn = await visit.moves();
  return saw;
}

/** In the page: where one of the objects is that are found now, in fractions of the picture, and the area of its box. */
async function somethingFound(number) {
  const { sources: [{ size_wh }] } = await (await fetch("state")).json();
  const events = new EventSource("events");
  const objects = await new Promise((resolve) => events.addEventListener("record", ({ data }) => resolve(JSON.parse(data).objects)));
  events.close();
  const [x0, y0, x1, y1] = objects[number % objects.length].xyxy;
  return { at: [(x0 + x1) / 2 / size_wh[0], (y0 + y1) / 2 / size_wh[1]], area_px: (x1 - x0) * (y1 - y0) };
}

/** What axe finds, in light and dark, and in the page's several states. */
export async function access(open) {
  const found = {};
  for (const colorScheme of ["light", "dark"]) {
    const visit = await open({ colorScheme, reducedMotion: "reduce" });
    const { page } = visit;
    await visit.until("#connection", "Connected");
    await page.locator("#objects li").first().waitFor();
    found[colorScheme] = await serious(page);
    await visit.click(0.5, 0.5);
    await visit.areas(1);
    found[`${colorScheme}, an object`] = await serious(page);
    await page.getByRole("radio", { name: "Region" }).click();
    await visit.click(0.2, 0.2);
    found[`${colorScheme}, a region`] = await serious(page);
    found.transition = await page.locator("#clear").evaluate((node) => getComputedStyle(node).transitionDuration);
    await page.setViewportSize({ width: 390, height: 844 });
    found[`${colorScheme}, narrow`] = await serious(page);
    found.live = await page.evaluate(() => [...document.querySelectorAll("[role=status], [role=alert], [aria-live]")].map(({ id }) => id));
  }
  return { found };
}

async function serious(page) {
  await page.evaluate(axeSource);
  const { violations } = await page.evaluate(() => window.axe.run(document, { resultTypes: ["violations"] }));
  return violations
    .filter(({ impact }) => impact === "serious" || impact === "critical")
    .map(({ id, nodes }) => `${id}: ${nodes.map(({ target, failureSummary }) => `${target} ${failureSummary}`).join("; ")}`);
}

/** A phone: 360 px, by touch. */
export async function narrow(open) {
  const visit = await open({ viewport: { width: 360, height: 740 }, hasTouch: true, isMobile: true, deviceScaleFactor: 2 });
  const { page } = visit;
  await visit.until("#connection", "Connected");
  await page.locator("#objects li").first().waitFor();
  const saw = { moves: await visit.moves(), width: await visit.width() };
  saw.small = await page.evaluate(() => (
    [...document.querySelectorAll(".tools button, .segments label, .camera")].filter((node) => node.offsetHeight < 38).length
  ));
  await page.touchscreen.tap(...(await visit.place(0.5, 0.5)));
  [saw.area] = await visit.areas(1);
  await longPress(page, await visit.place(0.53, 0.5));
  await page.waitForFunction(() => document.querySelectorAll("#overlay .dot.background").length === 1);
  [saw.pressed] = await visit.areas(1);
  saw.widthHeld = await visit.width();
  await page.getByRole("radio", { name: "Box" }).tap();
  await swipe(page, await visit.place(0.1, 0.1), await visit.place(0.5, 0.6));
  saw.areas = await visit.areas(2);
  await page.locator("#clear").tap();
  await page.getByRole("radio", { name: "Region" }).tap();
  for (const at of [[0.2, 0.2], [0.8, 0.2], [0.5, 0.8]]) await page.touchscreen.tap(...(await visit.place(...at)));
  saw.toml = await page.locator("#region-toml").inputValue();
  saw.widthRegion = await visit.width();
  saw.sent = visit.prompts;
  return saw;
}

async function touches(page, steps) {
  const session = await page.context().newCDPSession(page);
  for (const [type, at] of steps) {
    if (type === "wait") await page.waitForTimeout(at);
    else await session.send("Input.dispatchTouchEvent", { type, touchPoints: at ? [{ x: at[0], y: at[1] }] : [] });
  }
}

const longPress = (page, at) => touches(page, [["touchStart", at], ["wait", 800], ["touchEnd", null]]);

function swipe(page, from, to) {
  const between = [0.25, 0.5, 0.75, 1].map((t) => ["touchMove", from.map((value, i) => value + t * (to[i] - value))]);
  return touches(page, [["touchStart", from], ...between, ["touchEnd", null]]);
}

// What comes late, after another camera was chosen, a camera was removed, or the page was hidden.

const fault = (url, body) => fetch(new URL("fake", url), { method: "POST", body: JSON.stringify(body) });

/** A picture that is still decoded when another camera is chosen, which has none: it is drawn for nobody. */
export async function late(open, { url }) {
  const visit = await open();
  const { page } = visit;
  await visit.until("#connection", "Connected");
  await visit.moves();
  const names = await page.locator(".camera .camera-name").allInnerTexts();
  await fault(url, { state: [names[1], "lost", "gone"] });
  await visit.until("#cameras", "Lost");
  const saw = { names };
  for (const held of [false, true]) {
    await page.locator(".camera").nth(0).click();
    await visit.moves("#picture", 1);
    await page.evaluate(() => {
      const decode = (window.decode ??= window.createImageBitmap);
      window.decoding = 0;
      window.decoded = 0;
      window.createImageBitmap = async (blob) => {
        window.decoding++;
        await new Promise((resolve) => setTimeout(resolve, 1000));
        const bitmap = await decode.call(window, blob);
        setTimeout(() => window.decoded++, 100);
        return bitmap;
      };
    });
    if (held) {
      const answered = page.waitForResponse((response) => response.url().includes("frame="));
      await page.locator("#hold").click();
      await answered;
      await page.waitForTimeout(200);
    }
    await page.waitForFunction(() => window.decoding > window.decoded);
    await page.locator(".camera").nth(1).click();
    await page.waitForFunction(() => window.decoding === window.decoded);
    saw[held ? "held" : "live"] = [await visit.text("#camera-name"), await page.locator("#stage-empty").isVisible()];
    await page.evaluate(() => (window.createImageBitmap = window.decode));
  }
  return saw;
}

/** The first camera is removed: the others' small pictures stay with their names. */
export async function removed(open, { url }) {
  const visit = await open();
  const { page } = visit;
  await visit.until("#connection", "Connected");
  const nodes = () => page.evaluate(() => (
    [...document.querySelectorAll(".camera")].map((node) => [node.dataset.source, (node.querySelector("canvas").of ??= node.dataset.source)])
  ));
  await page.locator(".camera").nth(1).waitFor();
  const saw = { before: await nodes() };
  await page.waitForFunction(() => performance.getEntriesByType("resource").some(({ name }) => name.includes("snapshot.jpg")));
  await page.locator(".camera").nth(1).focus();
  await fault(url, { remove: saw.before[0][0] });
  await page.waitForFunction((count) => document.querySelectorAll(".camera").length === count, saw.before.length - 1);
  saw.after = await nodes();
  saw.focused = await page.evaluate(() => document.activeElement.dataset.source);
  return saw;
}

/** Another camera is chosen while a signature is renewed: one connection for events is left. */
export async function renewed(open, { token }) {
  const visit = await open();
  const { page } = visit;
  await page.evaluate(() => {
    window.opened = [];
    window.EventSource = class extends EventSource {
      constructor(...options) {
        super(...options);
        window.opened.push(this);
      }
    };
  });
  await page.locator("#token").fill(token);
  await page.locator("#token").press("Enter");
  await visit.until("#connection", "Connected");
  const first = encodeURIComponent(await visit.text("#camera-name"));
  await page.route(`**/events?source=${first}&*`, () => {}); // it is never answered
  const before = await page.evaluate(() => window.opened.length);
  await page.waitForFunction((count) => window.opened.length > count, before);
  await page.locator(".camera").nth(1).click();
  await page.waitForFunction(() => window.opened.at(-1).readyState === EventSource.OPEN);
  return { open: await page.evaluate(() => window.opened.filter(({ readyState }) => readyState !== EventSource.CLOSED).length) };
}

/** The page is hidden for some seconds: the chart has a gap as long as that. */
export async function hidden(open) {
  const visit = await open();
  const { page } = visit;
  await visit.until("#connection", "Connected");
  await page.waitForTimeout(2500);
  const hide = (value) => page.evaluate((now) => {
    Object.defineProperty(document, "hidden", { value: now, configurable: true });
    document.dispatchEvent(new Event("visibilitychange"));
  }, value);
  await hide(true);
  await page.waitForTimeout(5000);
  await hide(false);
  await visit.until("#connection", "Connected");
  await page.waitForTimeout(1500);
  const path = await page.locator("#latency .line").first().getAttribute("d");
  return { places: path.match(/[ML][\d.]+/g).map((text) => [text[0], Number(text.slice(1))]), box: await page.locator("#latency svg").first().getAttribute("viewBox") };
}

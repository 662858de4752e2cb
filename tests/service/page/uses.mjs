// What a user does with the picture: objects, regions, all of it by keyboard.

/** Click, right click, drag, take back, clear. */
export async function segment(open) {
  const visit = await open();
  const { page } = visit;
  await visit.until("#connection", "Connected");
  await visit.moves();
  const saw = {};
  await visit.click(0.5, 0.5, "right");
  saw.early = await visit.until("#result", "first");
  await page.keyboard.press("Escape");
  const [x, y] = await visit.clickObject();
  [saw.area] = await visit.areas(1);
  saw.result = await visit.text("#result");
  saw.label = await page.locator("#overlay .mask-label").textContent();
  saw.outline = await page.locator("#overlay .outline").getAttribute("d");
  saw.rests = await visit.rests();
  await visit.click(x + 0.03, y, "right");
  await page.waitForFunction(() => document.querySelectorAll("#overlay .dot.background").length === 1);
  [saw.refined] = await visit.areas(1);
  await visit.drag(0.1, 0.1, 0.6, 0.7);
  saw.areas = await visit.areas(2);
  saw.drawn = await page.locator("#overlay .mask").count();
  await page.keyboard.press("Backspace");
  await visit.areas(1);
  await page.keyboard.press("Backspace");
  await page.waitForFunction(() => !document.querySelector("#overlay .dot.background"));
  [saw.undone] = await visit.areas(1);
  await page.locator("#new-object").click();
  await visit.click(0.2, 0.2);
  saw.second = (await visit.areas(2)).length;
  await page.locator("#selections button").first().click();
  saw.left = (await visit.areas(1)).length;
  await page.keyboard.press("Escape");
  saw.cleared = (await visit.areas(0)).length;
  saw.goesOn = await visit.moves();
  saw.sent = visit.prompts;
  return saw;
}

/** Everything from the first tab on, without a mouse. */
export async function keyboard(open) {
  const visit = await open();
  const { page } = visit;
  const press = async (keys) => {
    for (const key of keys.split(" ")) await page.keyboard.press(key);
  };
  await visit.until("#connection", "Connected");
  await visit.moves();
  const saw = {};
  await press("Tab");
  saw.skip = await page.evaluate(() => document.activeElement.textContent);
  await press("Enter ArrowLeft ArrowLeft ArrowUp Shift+ArrowUp");
  saw.focused = await page.evaluate(() => document.activeElement.id);
  saw.outline = await page.locator("#stage").evaluate((node) => getComputedStyle(node).outlineStyle);
  saw.help = await page.locator("#keys").isVisible();
  saw.cursor = await page.locator("#overlay .cursor").count();
  saw.spoken = await visit.until("#announce", "from the left").catch(() => page.locator("#announce").textContent());
  await press("Enter");
  [saw.area] = await visit.areas(1);
  await press("Tab"); // to the tools
  await press("ArrowRight Shift+Tab ArrowRight Enter"); // the next one, which is for the background
  await page.waitForFunction(() => document.querySelectorAll("#overlay .dot.background").length === 1);
  [saw.refined] = await visit.areas(1);
  await press("Tab ArrowRight Shift+Tab Enter ArrowRight ArrowRight ArrowDown ArrowDown ArrowDown Enter"); // a box
  saw.boxes = (await visit.areas(2)).length;
  await press("Escape");
  saw.cleared = (await visit.areas(0)).length;
  await press("Tab ArrowRight Shift+Tab Enter ArrowRight ArrowRight Enter ArrowDown ArrowDown Enter"); // a region
  saw.toml = await page.locator("#region-toml").inputValue();
  await press("Backspace");
  saw.fewer = await page.locator("#region-toml").inputValue();
  await press("Enter");
  const reached = [];
  for (let i = 0; i < 40; i++) {
    await press("Tab");
    reached.push(await page.evaluate(() => document.activeElement.id || document.activeElement.className));
  }
  saw.reached = [...new Set(reached)];
  saw.sent = visit.prompts;
  return saw;
}

/** What the clipboard has, by pasting it. */
async function paste(page) {
  await page.evaluate(() => document.body.append(Object.assign(document.createElement("textarea"), { id: "paste" })));
  await page.locator("#paste").press("Control+v");
  return page.locator("#paste").inputValue();
}

/** Draw a region, move a corner, copy its lines. */
export async function region(open) {
  const visit = await open();
  const { page } = visit;
  await visit.context.grantPermissions(["clipboard-read", "clipboard-write"]);
  await visit.until("#connection", "Connected");
  await visit.moves();
  await page.getByRole("radio", { name: "Region" }).click();
  const saw = { empty: await page.locator("#region-toml").inputValue() };
  await page.locator("#region-name").fill("out feed");
  for (const at of [[0.25, 0.25], [0.75, 0.25], [0.75, 0.75]]) await visit.click(...at);
  saw.fault = await page.locator("#region-toml").inputValue();
  await page.locator("#region-name").fill("out-feed");
  saw.toml = await page.locator("#region-toml").inputValue();
  await visit.drag(0.75, 0.75, 0.5, 0.9);
  saw.moved = await page.locator("#region-toml").inputValue();
  await page.locator("#region-copy").click();
  await visit.until("#region-copy", "Copied");
  saw.copied = await page.evaluate(() => navigator.clipboard.readText());
  // Pages over plain http have no clipboard to write to.
  await page.evaluate(() => navigator.clipboard.writeText(""));
  await page.evaluate(() => Object.defineProperty(navigator, "clipboard", { value: undefined }));
  await visit.until("#region-copy", /^Copy$/);
  await page.locator("#region-copy").click();
  await visit.until("#region-copy", "Copied");
  saw.pasted = await paste(page);
  saw.stillLive = await visit.moves();
  await page.locator("#clear").click();
  saw.cleared = await page.locator("#region-toml").inputValue();
  return saw;
}

// Drive the page in a browser: `node drive.mjs '{"scenario": "live", "url": "http://...", ...}'` prints what it saw as JSON.

import { chromium } from "playwright-core";
import { Visit } from "./visit.mjs";
import * as first from "./looks.mjs";
import * as second from "./uses.mjs";
import * as third from "./troubles.mjs";
import * as fourth from "./races.mjs";

const { scenario, browser: executablePath, ...options } = JSON.parse(process.argv[2]);
const browser = await chromium.launch({
  executablePath,
  args: ["--no-sandbox", "--disable-background-networking", "--disable-dev-shm-usage"],
});
const visits = [];

/** Open the page in a window of its own; `changes` are playwright's options of a context, and `url`. */
async function open({ url = options.url, ...changes } = {}) {
  const context = await browser.newContext({ viewport: { width: 1280, height: 800 }, ...changes });
  const visit = await Visit.of(context, url);
  visits.push(visit);
  return visit;
}

try {
  const saw = await { ...first, ...second, ...third, ...fourth }[scenario](open, options);
  const all = (name) => visits.flatMap((visit) => visit[name]);
  console.log(JSON.stringify({ ...saw, errors: all("errors"), strangers: all("strangers") }));
} finally {
  await browser.close();
}

// The panels beside the picture: what is found now, regions and their events, the device.

import { byId, make, setList, setPairs, setText } from "./dom.js";
import { clock, count, decimal, ms, percent, span } from "./format.js";

const EVENTS = 20;
const EVENT_WORDS = { enter: "entered", leave: "left", dwell: "stayed in" };

const rows = (names) => () => make("li", {}, ...names.map((name) => make("span", { class: name })));

/** The objects of a record. */
export function showObjects(objects) {
  const sorted = [...objects].sort((a, b) => a.class_name.localeCompare(b.class_name) || a.xyxy[0] - b.xyxy[0]);
  setText(byId("objects-count"), count(objects.length));
  setText(byId("objects-empty"), "Nothing is found in the present picture.");
  byId("objects-empty").hidden = objects.length > 0;
  setList(byId("objects"), sorted, createObject, (node, { class_name, track_id, confidence, xyxy }) => {
    const [name, size, meter, value] = node.children;
    setText(name, track_id == null ? class_name : `#${track_id} ${class_name}`);
    setText(size, `${count(xyxy[2] - xyxy[0])} × ${count(xyxy[3] - xyxy[1])} px`);
    meter.firstChild.setAttribute("width", Math.max(0, Math.min(1, confidence)) * 100);
    setText(value, percent(confidence));
  });
}

function createObject() {
  const meter = document.createElementNS("http://www.w3.org/2000/svg", "svg");
  for (const [name, value] of Object.entries({ viewBox: "0 0 100 6", preserveAspectRatio: "none", class: "meter", "aria-hidden": "true" })) {
    meter.setAttribute(name, value);
  }
  const bar = document.createElementNS(meter.namespaceURI, "rect");
  bar.setAttribute("height", 6);
  meter.append(bar);
  return make("li", {}, make("span", { class: "name" }), make("span", { class: "muted numbers" }), meter, make("span", { class: "numbers" }));
}

/** Where objects are unknown: no picture yet, or the connection is lost. */
export function showNoObjects(text) {
  setText(byId("objects-count"), "");
  setText(byId("objects-empty"), text);
  byId("objects-empty").hidden = false;
  byId("objects").replaceChildren();
}

/** The figures at the top. */
export function showTiles(state) {
  const hottest = Math.max(...Object.values(state.temperatures_c ?? {}));
  const { total } = state.stages_ms ?? {};
  setPairs(byId("tiles"), [
    ["Rate", `${decimal(state.fps)} fps`],
    ["Latency", ms(total)],
    ["Age, median", ms(state.age_ms?.p50)],
    ["Temperature", Number.isFinite(hottest) ? `${decimal(hottest)} °C` : "–"],
    ["Power", power(state.power_w)],
    ["Memory", memory(state.memory_mb)],
  ]);
}

const power = (watts) => (typeof watts === "number" ? `${decimal(watts)} W` : "–");
const memory = (mb) => (mb >= 1024 ? `${decimal(mb / 1024)} GB` : `${count(mb)} MB`);

/** Regions with what is in them. */
export function showRegions(regions) {
  byId("regions-empty").hidden = regions.length > 0;
  setList(byId("regions"), regions, rows(["name", "muted", "numbers"]), (node, { source, name, counts }) => {
    const [first, second, third] = node.children;
    setText(first, name);
    setText(second, source);
    setText(third, countsText(counts) || "empty");
  });
}

/** Counts by class as text: "gear 2, washer 1". */
export function countsText(counts) {
  return Object.entries(counts ?? {}).filter(([, number]) => number).map(([name, number]) => `${name} ${count(number)}`).join(", ");
}

/** The events of a record, newest first. */
export function addEvents(record) {
  const list = byId("events");
  for (const event of record.events ?? []) {
    const many = event.count === 1 ? event.class_name : `${count(event.count)} ${event.class_name}`;
    const stay = event.dwell_s === undefined ? "" : ` for ${span(event.dwell_s)}`;
    const text = `${many} ${EVENT_WORDS[event.event] ?? event.event} ${event.region}${stay}`;
    list.prepend(make("li", {}, make("span", { class: "name" }, text), make("span", { class: "muted numbers" }, clock(new Date()))));
    if (list.children.length > EVENTS) list.lastElementChild.remove();
    byId("events-empty").hidden = true;
  }
}

/** The device and what runs on it. */
export function showDevice(state) {
  const zones = Object.entries(state.temperatures_c ?? {});
  const { swap } = state;
  setPairs(byId("device"), [
    ["Bundle", state.bundle],
    ["Device", state.device],
    ["Backend", state.backend],
    ["Temperatures", zones.length ? zones.map(([zone, degrees]) => `${zone} ${decimal(degrees)} °C`).join(", ") : "not reported"],
    ["Power", typeof state.power_w === "number" ? power(state.power_w) : "not reported"],
    ["Memory", `${memory(state.memory_mb)}${state.memory_available_mb ? `, ${memory(state.memory_available_mb)} are free` : ""}`],
    ...(state.throttled ? [["Throttled", state.throttled]] : []),
    ...(swap?.state ? [["Change of bundle", [swap.state, swap.bundle, swap.reason].filter(Boolean).join(", ")]] : []),
    ["Running for", span(state.uptime_s)],
    ["Version", state.version],
  ].map(([term, text]) => [term, String(text ?? "–")]));
}

// The page: what the service says goes into its panels, and what the user does goes to the service.

import { Service } from "./api.js";
import { Cameras, cameraState } from "./cameras.js";
import { Chart } from "./charts.js";
import { Connection } from "./connection.js";
import { announce, byId, make, setList, setPill, setText } from "./dom.js";
import { clock, count, decimal, ms, percent, span } from "./format.js";
import { COLOURS, Overlay } from "./overlay.js";
import { addEvents, countsText, showDevice, showNoObjects, showObjects, showRegions, showTiles } from "./panels.js";
import { Picture } from "./picture.js";
import { RegionEditor } from "./region.js";
import { Segmenting } from "./segment.js";
import { askToken } from "./token.js";
import { Tools } from "./tools.js";

const OBJECTS_MS = 500; // between changes of the list of objects, which is to be read

let state = null;
let selected; // the name of a source, null where there is none
let objectsShown_ms = 0;
let lostSince = null;
const spoken = new Map(); // the state of each camera that was announced last

const service = new Service(askToken);
const latency = new Chart(byId("latency"), ms);
const age = new Chart(byId("age"), ms);
const picture = new Picture(service, changed);
const cameras = new Cameras(service, select);
const segmenting = new Segmenting(service, picture, changed, (text) => setText(byId("result"), text));
const region = new RegionEditor(() => picture.size_wh, () => selected, changed);
const overlay = new Overlay(() => ({
  size_wh: picture.size_wh,
  objects: segmenting.objects,
  current: segmenting.current,
  regions: byId("show-regions").checked ? shownRegions() : [],
  corners: tools.tool === "region" ? region.corners : [],
  box: tools.box,
  cursor: tools.cursor,
}));
const tools = new Tools({
  size_wh: () => picture.size_wh,
  begin: () => picture.hold().catch((error) => setText(byId("result"), `Not held: ${error.message}`)),
  point: (xy, foreground) => segmenting.addPoint(xy, foreground),
  box: (xyxy) => segmenting.addBox(xyxy),
  corner: (xy) => region.add(xy),
  nearCorner: (xy, px) => region.near(xy, px),
  moveCorner: (index, xy) => region.move(index, xy),
  undo,
  redraw: () => overlay.draw(),
  toolChanged: (tool) => {
    region.show(tool === "region");
    changed();
  },
});
const connection = new Connection(service, { onState: showState, onRecord: showRecord, onPhase: showPhase });

function showState(next) {
  state = next;
  const names = state.sources.map(({ name }) => name);
  if (!names.includes(selected)) select(names[0] ?? null);
  const source = currentSource();
  setText(byId("about"), [state.bundle, state.device].filter(Boolean).join(" · "));
  byId("redacted").hidden = !state.redacted;
  byId("camera-state").hidden = !source;
  if (source) {
    picture.setSize(source.size_wh);
    setPill(byId("camera-state"), ...cameraState(source));
    setText(byId("camera-meta"), metaOf(source));
  }
  cameras.update(state.sources, selected);
  showTiles(state);
  showRegions(state.regions);
  showDevice(state);
  latency.add(state.stages_ms ?? {});
  age.add({ median: state.age_ms?.p50, "99 %": state.age_ms?.p99 });
  for (const { name, state: now, reason } of state.sources) {
    if (spoken.has(name) && spoken.get(name) !== now) announce(`Camera ${name}: ${cameraState({ state: now })[1]}. ${reason ?? ""}`);
    spoken.set(name, now);
  }
  if (source?.state !== "live" && performance.now() - objectsShown_ms > 4 * OBJECTS_MS) {
    showNoObjects(source ? "No objects, as this camera is not live." : "No camera is configured.");
  }
  showStale();
  overlay.draw();
}

function metaOf({ state: now, fps, age_ms }) {
  const parts = [`${decimal(fps)} fps`, typeof age_ms === "number" ? `${ms(age_ms)} old` : ""];
  return now === "live" ? parts.filter(Boolean).join(" · ") : "";
}

function showRecord(record) {
  if (record.source !== selected) return;
  addEvents(record);
  if (performance.now() - objectsShown_ms < OBJECTS_MS) return;
  objectsShown_ms = performance.now();
  showObjects(record.objects);
}

function showPhase(phase, error) {
  const words = { connecting: ["wait", "Connecting"], up: ["good", "Connected"], down: ["bad", "No connection"], token: ["wait", "Token wanted"] };
  setPill(byId("connection"), ...words[phase]);
  document.body.dataset.phase = phase;
  byId("banner").hidden = phase === "up" || phase === "connecting";
  if (phase === "up") {
    lostSince = null;
    if (selected !== null) picture.play(selected, byId("show-masks").checked);
    cameras.start();
    showStale();
    return;
  }
  picture.stop();
  cameras.stop();
  if (phase === "token") {
    setText(byId("banner-text"), "The service wants a token.");
    setText(byId("banner-button"), "Enter the token");
    return;
  }
  lostSince ??= new Date();
  const why = error?.status ? ` ${error.message}` : "";
  setText(byId("banner-text"), `${state ? "The connection to the service is lost since" : "There is no connection to the service since"} ${clock(lostSince)}.${why} It is tried again all the time.${state ? " What you see is from before." : ""}`);
  setText(byId("banner-button"), "Try now");
  showStale();
}

/** Mark a picture that is not of now. */
function showStale() {
  const source = currentSource();
  const shown_s = picture.age_ms === null ? null : picture.age_ms / 1000;
  let text = "";
  if (connection.phase === "down") text = "No connection to the service";
  else if (source && source.state !== "live") {
    text = `Camera ${cameraState(source)[1].toLowerCase()} for ${span(source.since_s)}${source.reason ? `: ${source.reason}` : ""}`;
  } else if (source && picture.late && !picture.held) text = "No new picture";
  if (text && shown_s !== null && !picture.held) text += `. This picture is ${span(shown_s)} old`;
  document.title = [text && "Stale", selected, "nanoseg"].filter(Boolean).join(" – ");
  byId("stale").hidden = !text;
  setText(byId("stale"), text);
  byId("stage").classList.toggle("is-stale", text !== "");
}

function select(name) {
  if (name === selected) return;
  selected = name;
  setText(byId("camera-name"), name ?? "No camera");
  byId("stage").setAttribute("aria-label", name ? `Picture of ${name}` : "No picture");
  setText(byId("stage-empty"), name ? "Waiting for the first picture" : "No camera");
  showNoObjects(name ? "No picture yet." : "No camera is configured.");
  segmenting.clear();
  region.clear();
  tools.cancel();
  picture.resume();
  if (name === null) return;
  picture.setSize(currentSource()?.size_wh);
  if (connection.phase === "up") picture.play(name, byId("show-masks").checked);
  connection.select(name);
  if (state) cameras.update(state.sources, name);
}

function currentSource() {
  return state?.sources.find(({ name }) => name === selected);
}

function shownRegions() {
  const [width, height] = picture.size_wh;
  return (state?.regions ?? []).filter(({ source }) => source === selected).map(({ name, polygon, counts }) => {
    const fractions = polygon.flat().every((value) => value >= 0 && value <= 1);
    return { polygon: fractions ? polygon.map(([x, y]) => [x * width, y * height]) : polygon, name, words: countsText(counts) };
  });
}

/** After a change of the held picture, of objects or of the region that is drawn. */
function changed() {
  const { objects, current, busy } = segmenting;
  const drawing = tools.tool === "region";
  const held = picture.held !== null;
  byId("held").hidden = !held;
  byId("hold").classList.toggle("primary", held);
  setText(byId("hold"), held ? "Go live" : "Hold");
  byId("new-object").disabled = !current;
  byId("undo").disabled = drawing ? !region.corners.length : !objects.length;
  byId("clear").disabled = drawing ? !region.corners.length : !objects.length && !held;
  byId("stage").setAttribute("aria-busy", String(busy > 0));
  byId("selections").hidden = !objects.length;
  setList(byId("selections"), objects, createSelection, (node, object) => {
    node.dataset.colour = object.number % COLOURS;
    setText(node.children[1], selectionText(object));
    node.lastChild.setAttribute("aria-label", `Remove object ${object.number}`);
    node.lastChild.onclick = () => {
      segmenting.remove(object);
      byId("stage").focus();
    };
  });
  showStale();
  overlay.draw();
}

function selectionText({ number, mask, waiting }) {
  if (mask) return `Object ${number} · ${count(mask.area_px)} px · ${percent(mask.mask_confidence)}`;
  return `Object ${number} · ${waiting ? "waiting" : "nothing there"}`;
}

function createSelection() {
  return make("li", {}, make("span", { class: "swatch", "aria-hidden": "true" }), make("span", { class: "name" }), make("button", { type: "button", class: "quiet" }, "Remove"));
}

function undo() {
  if (tools.tool === "region") region.undo();
  else segmenting.undo();
}

function clear() {
  tools.cancel();
  if (tools.tool === "region" && region.corners.length) {
    region.clear();
    return;
  }
  segmenting.clear();
  picture.resume();
}

byId("new-object").onclick = () => segmenting.finish();
byId("undo").onclick = undo;
byId("clear").onclick = clear;
byId("hold").onclick = () => {
  if (picture.held) clear();
  else picture.hold().catch((error) => setText(byId("result"), `Not held: ${error.message}`));
};
byId("show-masks").onchange = () => selected !== null && picture.play(selected, byId("show-masks").checked);
byId("show-regions").onchange = () => overlay.draw();
byId("banner-button").onclick = () => connection.start();
document.addEventListener("keydown", (event) => {
  if (event.key === "Escape" && !byId("token-dialog").open && !event.target.matches("input[type=text], textarea")) clear();
});
window.addEventListener("online", () => connection.phase === "down" && connection.start());
document.addEventListener("visibilitychange", () => {
  if (document.hidden) {
    connection.stop();
    picture.stop();
    cameras.stop();
  } else connection.start();
});
setInterval(() => {
  showStale();
  if (connection.phase === "up" && currentSource()?.state === "live" && !document.hidden) picture.reviveStream();
}, 1000);

tools.start();
connection.start();

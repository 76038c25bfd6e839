// The camera: frames go to the server, boxes follow smoothly.
import { ask } from "./api.js";
import { drawBars, FaceLayer } from "./faces.js";
import { query, shown } from "./state.js";
import { say, sayError } from "./strings.js";

const SIDE = 480; // pixels of the longer side of a frame that is sent
const IN_FLIGHT = 2; // frames in flight at once
const BOX_TIME = 40; // milliseconds in which a box moves most of its way
const SHARE_TIME = 300; // milliseconds over which probabilities are averaged
const RATE_TIME = 2000; // milliseconds over which the frame rate is measured
const OPTIONS = { flip: "false", detect_size: "320" };

const $ = (id) => document.getElementById(id);

let live = null; // {stream, stop} while running; the stream is set once the user allows it
let layer;

export function startCamera() {
  layer = new FaceLayer($("camera-faces"), (face, number) => drawBars($("camera-bars"), face, number));
  layer.draw([], 1, 1);
  $("camera-start").addEventListener("click", start);
  $("camera-stop").addEventListener("click", () => stopCamera());
  addEventListener("pagehide", () => stopCamera());
  document.addEventListener("visibilitychange", () => document.hidden && stopCamera());
}

async function start() {
  hideMessage();
  if (!navigator.mediaDevices) return showMessage(say("cameraInsecure"));
  $("camera-start").disabled = true;
  const mine = { stream: null, stop: new AbortController(), faces: [], answered: [], sent: 0, shownTo: 0, delay: 0 };
  live = mine;
  try {
    const wish = { width: { ideal: 640 }, height: { ideal: 480 }, facingMode: "user", frameRate: { ideal: 30 } };
    mine.stream = await navigator.mediaDevices.getUserMedia({ video: wish, audio: false });
    if (mine !== live) return release(mine);
    const view = $("camera-view");
    view.srcObject = mine.stream;
    await view.play();
    if (mine !== live) return undefined;
    $("camera-stage").style.aspectRatio = `${view.videoWidth} / ${view.videoHeight}`;
    $("camera-stage").style.setProperty("--ratio", view.videoWidth / view.videoHeight);
    $("camera-idle").hidden = true;
    $("camera-bar").hidden = false;
    $("camera-rate").textContent = say("cameraStarting");
    for (let number = 0; number < IN_FLIGHT; number += 1) send(mine);
    requestAnimationFrame(() => animate(mine, performance.now()));
  } catch (error) {
    if (mine !== live) return undefined; // whatever stopped it has shown the reason
    stopCamera();
    const key = { NotAllowedError: "cameraDenied", NotFoundError: "cameraMissing", NotReadableError: "cameraBusy" };
    showMessage(key[error.name] ? say(key[error.name]) : sayError(error));
  } finally {
    $("camera-start").disabled = false;
  }
  return undefined;
}

/** Stop, release the camera, and say why if there is a reason. */
export function stopCamera(reason = "") {
  if (live) {
    live.stop.abort();
    release(live);
    live = null;
  }
  $("camera-view").srcObject = null;
  $("camera-idle").hidden = false;
  $("camera-bar").hidden = true;
  layer?.draw([], 1, 1);
  if (reason) showMessage(reason);
}

function release(session) {
  for (const track of session.stream?.getTracks() ?? []) track.stop();
}

/** Send frames one after another; each response triggers the next. */
async function send(session) {
  const view = $("camera-view");
  const canvas = document.createElement("canvas");
  const scale = Math.min(1, SIDE / Math.max(view.videoWidth, view.videoHeight));
  canvas.width = Math.round(view.videoWidth * scale);
  canvas.height = Math.round(view.videoHeight * scale);
  const pen = canvas.getContext("2d");
  while (session === live) {
    const number = (session.sent += 1);
    const start = performance.now();
    pen.drawImage(view, 0, 0, canvas.width, canvas.height);
    const frame = await new Promise((resolve) => { canvas.toBlob(resolve, "image/jpeg", 0.85); });
    try {
      const response = await ask("v1/predict", { query: query(OPTIONS), body: frame, signal: session.stop.signal });
      const [prediction] = (await response.json()).predictions;
      if (session !== live) return;
      if (number > session.shownTo) {
        session.shownTo = number;
        session.delay = performance.now() - start;
        follow(session, prediction);
      }
      count(session);
    } catch (error) {
      if (error.name === "AbortError") return;
      stopCamera(sayError(error));
      return;
    }
  }
}

/** Give each new face the box and probabilities of the nearest previous one, from which it moves. */
function follow(session, prediction) {
  const { width, height } = prediction;
  const before = [...session.faces];
  session.faces = shown(prediction).map((face) => {
    const target = relative(face, width, height);
    const index = before.findIndex((each) => overlap(each.target.box, target.box) > 0.2);
    const [old] = index < 0 ? [] : before.splice(index, 1);
    return old ? { ...old, target } : { target, shown: target };
  });
}

function relative(face, width, height) {
  const [left, top, right, bottom] = face.box;
  return {
    ...face,
    box: [left / width, top / height, right / width, bottom / height],
    landmarks: face.landmarks?.map(([x, y]) => [x / width, y / height]),
  };
}

function animate(session, before) {
  if (session !== live) return;
  const now = performance.now();
  const near = 1 - Math.exp(-(now - before) / BOX_TIME);
  const slow = 1 - Math.exp(-(now - before) / SHARE_TIME);
  for (const face of session.faces) face.shown = between(face.shown, face.target, near, slow);
  layer.draw(session.faces.map((face) => face.shown), 1, 1);
  requestAnimationFrame(() => animate(session, now));
}

function between(from, to, near, slow) {
  const move = (a, b) => a + (b - a) * near;
  const probabilities = {};
  for (const [name, share] of Object.entries(to.probabilities)) {
    const old = from.probabilities[name] ?? share;
    probabilities[name] = old + (share - old) * slow;
  }
  const expression = Object.keys(probabilities).reduce((a, b) => (probabilities[b] > probabilities[a] ? b : a));
  return {
    ...to,
    probabilities,
    expression,
    probability: probabilities[expression],
    box: to.box.map((value, index) => move(from.box[index], value)),
    landmarks: to.landmarks?.map((point, index) =>
      point.map((value, axis) => move(from.landmarks?.[index]?.[axis] ?? value, value))),
  };
}

function overlap(first, second) {
  const width = Math.min(first[2], second[2]) - Math.max(first[0], second[0]);
  const height = Math.min(first[3], second[3]) - Math.max(first[1], second[1]);
  if (width <= 0 || height <= 0) return 0;
  const area = (box) => (box[2] - box[0]) * (box[3] - box[1]);
  return (width * height) / (area(first) + area(second) - width * height);
}

function count(session) {
  const now = performance.now();
  session.answered.push(now);
  while (now - session.answered[0] > RATE_TIME) session.answered.shift();
  const rate = session.answered.length < 2
    ? 0
    : (1000 * (session.answered.length - 1)) / (now - session.answered[0]);
  $("camera-rate").textContent = say("cameraRate", { rate: rate.toFixed(1), delay: Math.round(session.delay) });
  $("camera-rate").dataset.rate = rate.toFixed(2);
}

function showMessage(text) {
  $("camera-message").textContent = text;
  $("camera-message").hidden = false;
}

function hideMessage() {
  $("camera-message").hidden = true;
}

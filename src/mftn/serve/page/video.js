// A video: sent once, predicted frame by frame; boxes over the player, and a timeline below it.
import { ask, lines, Refused } from "./api.js";
import { asCsv, asJsonl, save } from "./downloads.js";
import { colour, drawBars, FaceLayer } from "./faces.js";
import { onChange, query, shown, state } from "./state.js";
import { clock, expressionName, megabytes, say, sayError } from "./strings.js";

const $ = (id) => document.getElementById(id);

let film = null; // {file, frames, person, stop, done}
let layer;

export function startVideo() {
  const { video, limits } = state.about;
  $("video-hint").textContent = video
    ? say("videoHint", { size: megabytes(limits.video), minutes: Math.round(limits.video_seconds / 60) })
    : say("videoMissing");
  $("video-file").disabled = !video;
  document.querySelector("label[for=video-file]").classList.toggle("disabled", !video);
  $("video-file").addEventListener("change", (event) => {
    if (event.target.files.length) openVideo(event.target.files[0]);
    event.target.value = "";
  });
  layer = new FaceLayer($("video-faces"), (face, number) => drawBars($("video-bars"), face, number));
  layer.draw([], 1, 1);
  $("video-cancel").addEventListener("click", () => film.stop.abort());
  $("video-json").addEventListener("click", () => save(`${stem()}.jsonl`, asJsonl(film.frames), "application/jsonl"));
  $("video-csv").addEventListener("click", () => save(`${stem()}.csv`, asCsv(film.frames), "text/csv"));
  const timeline = $("video-timeline");
  timeline.addEventListener("pointerdown", seek);
  timeline.addEventListener("pointermove", (event) => event.buttons && seek(event));
  timeline.addEventListener("keydown", step);
  new ResizeObserver(drawTimeline).observe(timeline);
  onChange((what) => {
    if (!film) return;
    if (what === "model") openVideo(film.file);
    else drawAll();
  });
  const follow = () => {
    drawFrame();
    requestAnimationFrame(follow);
  };
  requestAnimationFrame(follow);
}

/** Show a video and have it recognised. */
export async function openVideo(file) {
  film?.stop.abort();
  const mine = { file, frames: [], people: [], person: null, stop: new AbortController(), last: -1, length: 0 };
  film = mine;
  $("video-message").hidden = true;
  $("video-result").hidden = false;
  $("video-drop").classList.add("small");
  showFile(file);
  drawAll();
  showStatus("videoSending", true);
  try {
    const limit = state.about.limits.video;
    if (file.size > limit) throw { code: "too_large_here", size: megabytes(file.size), limit: megabytes(limit) };
    const response = await ask("v1/video", { query: query(), body: file, signal: mine.stop.signal });
    for await (const prediction of lines(response)) {
      if (film !== mine) return;
      if (prediction.error) throw new Refused("video_ended", prediction.error);
      take(prediction);
    }
    showStatus("videoDone", false);
  } catch (error) {
    if (film !== mine) return;
    showStatus(mine.frames.length ? "videoCancelled" : "videoSending", false);
    if (error.name !== "AbortError") showMessage(sayError(error, error));
    if (!mine.frames.length) $("video-result").hidden = true;
  } finally {
    if (film === mine) drawAll();
  }
}

function take(prediction) {
  const late = performance.now() - (film.drawn ?? 0) > 250;
  film.frames.push({ ...prediction, source: film.file.name });
  for (const face of prediction.faces) {
    if (!film.people.includes(face.track)) film.people.push(face.track);
    film.person ??= face.track;
  }
  if (!late) return;
  film.drawn = performance.now();
  drawAll();
  showStatus("videoWorking", true);
}

function showFile(file) {
  const view = $("video-view");
  URL.revokeObjectURL(view.src);
  view.src = URL.createObjectURL(file);
  view.onloadedmetadata = () => {
    film.length = Number.isFinite(view.duration) ? view.duration : 0;
    if (!view.videoWidth) return;
    $("video-stage").style.aspectRatio = `${view.videoWidth} / ${view.videoHeight}`;
    $("video-stage").style.setProperty("--ratio", view.videoWidth / view.videoHeight);
  };
  view.onerror = () => $("video-message").hidden && showMessage(say("videoNoPlay"));
}

function length() {
  return Math.max(film.length, film.frames.at(-1)?.time ?? 0, 0.1);
}

function showStatus(key, busy) {
  const { frames, people } = film;
  const faces = frames.reduce((sum, frame) => sum + frame.faces.length, 0);
  const time = frames.at(-1)?.time ?? 0;
  const values = { frames: frames.length, people: people.length, faces, time: clock(time), length: clock(length()) };
  $("video-status").textContent = say(key, values);
  $("video-progress").hidden = $("video-cancel").hidden = !busy;
  $("video-json").disabled = $("video-csv").disabled = !frames.length;
  if (frames.length) $("video-progress").value = time / length();
  else $("video-progress").removeAttribute("value");
}

function drawAll() {
  drawPeople();
  drawTimeline();
  film.last = -1;
}

function drawPeople() {
  const element = $("video-people");
  while (element.children.length > film.people.length) element.lastChild.remove();
  film.people.forEach((person, index) => {
    const button = element.children[index] ?? element.appendChild(document.createElement("button"));
    button.type = "button";
    button.textContent = say("person", { number: person });
    button.setAttribute("aria-pressed", String(person === film.person));
    button.onclick = () => {
      film.person = person;
      drawAll();
    };
  });
  const names = Object.keys(film.frames.find((frame) => frame.faces.length)?.faces[0].probabilities ?? {});
  $("video-legend").replaceChildren(...names.map((name) => {
    const item = document.createElement("li");
    const dot = document.createElement("i");
    dot.style.setProperty("--colour", colour(name));
    item.append(dot, expressionName(name));
    return item;
  }));
}

/** The frame shown at a time: the last one not after it. */
function frameAt(time) {
  let low = 0;
  let high = film.frames.length - 1;
  while (low < high) {
    const middle = (low + high + 1) >> 1;
    if (film.frames[middle].time <= time + 0.001) low = middle;
    else high = middle - 1;
  }
  return low;
}

function drawFrame() {
  if (!film?.frames.length || $("video").hidden) return;
  const time = $("video-view").currentTime;
  const index = frameAt(time);
  if (index === film.last && time === film.lastTime) return;
  const frame = film.frames[index];
  if (index !== film.last) {
    const faces = time > film.frames.at(-1).time + 1 ? [] : shown(frame);
    const chosen = faces.findIndex((face) => face.track === film.person);
    if (chosen >= 0) layer.chosen = chosen;
    layer.draw(faces, frame.width, frame.height);
  }
  film.last = index;
  film.lastTime = time;
  drawPlayhead(time, frame);
}

function drawTimeline() {
  const timeline = $("video-timeline");
  const canvas = timeline.firstElementChild;
  const ratio = devicePixelRatio;
  canvas.width = Math.max(1, Math.round(timeline.clientWidth * ratio));
  canvas.height = Math.max(1, Math.round(timeline.clientHeight * ratio));
  if (!film?.frames.length) return;
  const pen = canvas.getContext("2d");
  const all = length();
  film.frames.forEach((frame, index) => {
    const face = shown(frame).find((each) => each.track === film.person);
    if (!face) return;
    const left = Math.floor((frame.time / all) * canvas.width);
    const until = film.frames[index + 1]?.time ?? all;
    const width = Math.max(1, Math.ceil((Math.min(until - frame.time, 1) / all) * canvas.width));
    let top = 0;
    for (const [name, share] of Object.entries(face.probabilities)) {
      pen.fillStyle = colour(name);
      pen.fillRect(left, top, width, share * canvas.height + 1);
      top += share * canvas.height;
    }
  });
}

function drawPlayhead(time, frame) {
  const timeline = $("video-timeline");
  timeline.style.setProperty("--at", `${(100 * time) / length()}%`);
  timeline.setAttribute("aria-valuemin", "0");
  timeline.setAttribute("aria-valuemax", length().toFixed(1));
  timeline.setAttribute("aria-valuenow", time.toFixed(1));
  const face = frame.faces.find((each) => each.track === film.person);
  timeline.setAttribute("aria-valuetext", face
    ? say("timelineAt", { time: clock(time), expression: expressionName(face.expression) })
    : say("timelineNobody", { time: clock(time) }));
}

function seek(event) {
  const box = $("video-timeline").getBoundingClientRect();
  go(((event.clientX - box.left) / box.width) * length());
}

function step(event) {
  const now = $("video-view").currentTime;
  const target = { ArrowRight: now + 0.2, ArrowLeft: now - 0.2, PageDown: now + 5, PageUp: now - 5, Home: 0, End: length() };
  if (!(event.key in target)) return;
  event.preventDefault();
  go(target[event.key]);
}

function go(time) {
  $("video-view").currentTime = Math.min(Math.max(time, 0), length());
}

function stem() {
  return film.file.name.replace(/\.[^.]*$/, "") || "video";
}

function showMessage(text) {
  $("video-message").textContent = text;
  $("video-message").hidden = false;
}

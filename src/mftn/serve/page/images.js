// Photographs: chosen, dropped or pasted; sent to the server two at a time; one card each.
import { ask } from "./api.js";
import { asCsv, asJson, save } from "./downloads.js";
import { drawBars, FaceLayer, paragraph } from "./faces.js";
import { onChange, query, shown, state } from "./state.js";
import { megabytes, say, sayError } from "./strings.js";

const AT_ONCE = 2;
const $ = (id) => document.getElementById(id);

const cards = [];
let queue = [];
let running = 0;
let cancelled = false;
let stop = new AbortController();

export function startImages() {
  const zone = $("drop");
  $("files").addEventListener("change", (event) => {
    addFiles(event.target.files);
    event.target.value = "";
  });
  for (const name of ["dragenter", "dragover"]) zone.addEventListener(name, () => zone.classList.add("over"));
  for (const name of ["dragleave", "drop"]) zone.addEventListener(name, () => zone.classList.remove("over"));
  $("images-cancel").addEventListener("click", cancel);
  $("images-clear").addEventListener("click", clear);
  $("images-json").addEventListener("click", () => save("expressions.json", asJson(results()), "application/json"));
  $("images-csv").addEventListener("click", () => save("expressions.csv", asCsv(results()), "text/csv"));
  onChange((what) => {
    if (what === "model") again();
    else cards.forEach((card) => card.draw());
    showStatus();
  });
}

/** Recognise files; they are shown in their order. */
export function addFiles(files) {
  cancelled = false;
  for (const file of files) {
    const card = new Card(file);
    cards.push(card);
    $("cards").append(card.element);
    queue.push(card);
  }
  next();
}

function again() {
  for (const card of cards) {
    if (!queue.includes(card) && card.state !== "working") wait(card); // one in progress is queued again when it is done
  }
  cancelled = false;
  next();
}

function wait(card) {
  card.wait();
  queue.push(card);
}

function next() {
  while (running < AT_ONCE && queue.length) {
    running += 1;
    const card = queue.shift();
    const { signal } = stop;
    const { model } = state;
    card.recognise(signal).finally(() => {
      running -= 1;
      if (model !== state.model && !signal.aborted && cards.includes(card)) wait(card);
      next();
    });
  }
  showStatus();
}

function cancel() {
  stop.abort();
  stop = new AbortController();
  cancelled = true;
  for (const card of queue) card.drop();
  queue = [];
  showStatus();
}

function clear() {
  cancel();
  cancelled = false;
  while (cards.length) cards.pop().remove();
  showStatus();
}

function results() {
  return cards.filter((card) => card.prediction).map((card) => card.prediction);
}

function showStatus() {
  const done = cards.filter((card) => card.state === "done" || card.state === "refused").length;
  const busy = running > 0 || queue.length > 0;
  const faces = results().reduce((sum, prediction) => sum + shown(prediction).length, 0);
  $("drop").classList.toggle("small", cards.length > 0);
  $("images-bar").hidden = !cards.length;
  $("images-progress").hidden = !busy;
  $("images-progress").max = cards.length || 1;
  $("images-progress").value = done;
  $("images-cancel").hidden = !busy;
  $("images-clear").hidden = busy;
  $("images-json").disabled = $("images-csv").disabled = !results().length;
  const read = results().length;
  const refused = cards.filter((card) => card.state === "refused").length;
  const key = busy ? "working" : cancelled ? "cancelled" : read === 1 ? "finishedOne" : "finished";
  const status = say(key, { done, all: cards.length, read, faces });
  $("images-status").textContent = refused && !busy ? `${status}; ${say("unread", { refused })}` : status;
}

class Card {
  constructor(file) {
    this.file = file;
    this.address = URL.createObjectURL(file);
    this.element = document.createElement("li");
    this.element.className = "card";
    this.head = document.createElement("div");
    this.head.className = "card-head";
    this.name = document.createElement("h2");
    this.name.textContent = file.name || "image";
    this.note = paragraph(say("waiting"), "quiet");
    this.annotated = button(say("annotated"), () => this.saveAnnotated());
    this.annotated.hidden = true;
    const remove = button("×", () => {
      queue = queue.filter((card) => card !== this);
      cards.splice(cards.indexOf(this), 1);
      this.remove();
      showStatus();
    });
    remove.className = "plain";
    remove.setAttribute("aria-label", say("remove", { name: this.name.textContent }));
    this.head.append(this.name, this.note, this.annotated, remove);
    this.viewer = document.createElement("div");
    this.viewer.className = "viewer";
    this.element.append(this.head, this.viewer);
    this.state = "waiting";
  }

  wait() {
    this.state = "waiting";
    this.note.textContent = say("waiting");
  }

  drop() {
    this.state = this.prediction ? "done" : "dropped";
    this.note.textContent = this.prediction ? this.count() : "";
  }

  remove() {
    URL.revokeObjectURL(this.address);
    this.element.remove();
  }

  async recognise(signal) {
    this.state = "working";
    this.note.textContent = say("recognising");
    this.element.setAttribute("aria-busy", "true");
    try {
      const limit = state.about.limits.upload;
      if (this.file.size > limit) {
        throw { code: "too_large_here", size: megabytes(this.file.size), limit: megabytes(limit) };
      }
      const response = await ask("v1/predict", { query: query(), body: form(this.file), signal });
      [this.prediction] = (await response.json()).predictions;
      this.state = "done";
      this.build();
      this.draw();
    } catch (error) {
      if (error.name === "AbortError") this.drop();
      else this.refuse(error);
    } finally {
      this.element.removeAttribute("aria-busy");
      showStatus();
    }
  }

  refuse(error) {
    this.state = "refused";
    this.prediction = null;
    this.note.textContent = "";
    this.annotated.hidden = true;
    const message = paragraph(sayError(error, error), "message");
    message.setAttribute("role", "alert");
    this.viewer.replaceChildren(message);
  }

  build() {
    const { width, height } = this.prediction;
    const stage = document.createElement("div");
    stage.className = "stage";
    stage.style.aspectRatio = `${width} / ${height}`;
    stage.style.setProperty("--ratio", width / height);
    const image = document.createElement("img");
    image.src = this.address;
    image.alt = "";
    image.addEventListener("error", () => {
      image.remove();
      stage.append(paragraph(say("noPreview"), "quiet no-preview"));
    });
    const faces = document.createElement("div");
    faces.className = "faces";
    faces.setAttribute("role", "group");
    faces.setAttribute("aria-label", say("facesIn", { name: this.name.textContent }));
    const panel = document.createElement("aside");
    panel.className = "bars-panel";
    this.layer = new FaceLayer(faces, (face, number) => drawBars(panel, face, number, this.empty()));
    stage.append(image, faces);
    this.viewer.replaceChildren(stage, panel);
  }

  draw() {
    if (!this.prediction || !this.layer) return;
    const { width, height } = this.prediction;
    this.layer.draw(shown(this.prediction), width, height);
    this.note.textContent = this.count();
    this.annotated.hidden = false;
  }

  empty() {
    return say(this.prediction.faces.length ? "noFaceShown" : "noFace");
  }

  count() {
    const count = shown(this.prediction).length;
    return count === 1 ? say("oneFace") : say("faces", { count });
  }

  async saveAnnotated() {
    this.annotated.disabled = true;
    try {
      const detector = state.threshold > 0.5 ? { min_score: state.threshold } : {};
      const response = await ask("v1/annotate", { query: query(detector), body: form(this.file) });
      const stem = this.name.textContent.replace(/\.[^.]*$/, "");
      save(`${stem}_faces.png`, await response.blob());
    } catch (error) {
      this.note.textContent = sayError(error, error);
    } finally {
      this.annotated.disabled = false;
    }
  }
}

function form(file) {
  const body = new FormData();
  body.append("file", file, file.name || "image");
  return body;
}

function button(text, action) {
  const element = document.createElement("button");
  element.type = "button";
  element.textContent = text;
  element.addEventListener("click", action);
  return element;
}

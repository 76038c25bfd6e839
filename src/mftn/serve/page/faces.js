// Boxes over an image, and the bars of one face.
import { expressionName, percent, say } from "./strings.js";
import { state } from "./state.js";

const CROWD = 12; // with this many faces, only the selected one has a label

/** Buttons over a stage: one per face, reachable by pointer, touch and keyboard. */
export class FaceLayer {
  /** `choose(face)` is called for a face that is pointed at, tapped or focused. */
  constructor(element, choose) {
    this.element = element;
    this.choose = choose;
    this.buttons = [];
    this.chosen = 0;
  }

  /** Draw the faces of an image of this size. */
  draw(faces, width, height) {
    while (this.buttons.length > faces.length) this.buttons.pop().remove();
    while (this.buttons.length < faces.length) this.buttons.push(this.make(this.buttons.length));
    this.faces = faces;
    this.element.classList.toggle("crowd", faces.length >= CROWD);
    faces.forEach((face, number) => fillButton(this.buttons[number], face, number, width, height));
    if (this.chosen >= faces.length) this.chosen = 0;
    this.mark();
  }

  make(number) {
    const button = document.createElement("button");
    button.type = "button";
    button.className = "face";
    button.append(document.createElement("span"));
    for (let point = 0; point < 5; point += 1) button.append(document.createElement("i"));
    for (const event of ["pointerenter", "focus", "click"]) {
      button.addEventListener(event, () => {
        this.chosen = number;
        this.mark();
      });
    }
    this.element.append(button);
    return button;
  }

  mark() {
    this.buttons.forEach((button, number) => button.setAttribute("aria-pressed", String(number === this.chosen)));
    this.choose(this.faces[this.chosen] ?? null, this.chosen);
  }
}

function fillButton(button, face, number, width, height) {
  const [left, top, right, bottom] = face.box;
  const [label, ...points] = button.children;
  button.style.left = `${(100 * left) / width}%`;
  button.style.top = `${(100 * top) / height}%`;
  button.style.width = `${(100 * (right - left)) / width}%`;
  button.style.height = `${(100 * (bottom - top)) / height}%`;
  button.style.setProperty("--colour", colour(face.expression));
  button.style.setProperty("--ink", ink(colour(face.expression)));
  button.classList.toggle("below", top < 0.06 * height);
  button.classList.toggle("to-left", left > 0.7 * width);
  label.textContent = `${expressionName(face.expression)} ${percent(face.probability)}`;
  button.setAttribute("aria-label", title(face, number));
  points.forEach((point, index) => {
    const landmark = face.landmarks?.[index];
    point.hidden = !landmark;
    if (!landmark) return;
    point.style.left = `${(100 * (landmark[0] - left)) / (right - left)}%`;
    point.style.top = `${(100 * (landmark[1] - top)) / (bottom - top)}%`;
  });
}

/** "Face 2: happiness 97 %". */
export function title(face, number) {
  const values = { expression: expressionName(face.expression), share: percent(face.probability) };
  return face.track == null
    ? say("face", { number: face.face ?? number + 1, ...values })
    : say("personFace", { number: face.track, ...values });
}

/** The bars of a face, in the package's order so that they do not move; existing elements are reused. */
export function drawBars(element, face, number = 0, empty = say("selectFace")) {
  if (!face) {
    element.replaceChildren(paragraph(empty, "quiet"));
    return;
  }
  let table = element.querySelector("table");
  if (!table) {
    const heading = document.createElement("h3");
    table = document.createElement("table");
    table.className = "bars";
    element.replaceChildren(heading, table, paragraph("", "quiet"));
  }
  const names = Object.keys(face.probabilities);
  while (table.rows.length > names.length) table.deleteRow(-1);
  while (table.rows.length < names.length) {
    const row = table.insertRow();
    const name = document.createElement("th");
    name.scope = "row";
    const track = document.createElement("div");
    track.append(document.createElement("div"));
    row.append(name, document.createElement("td"), document.createElement("td"));
    row.cells[1].append(track);
  }
  names.forEach((name, index) => {
    const { cells } = table.rows[index];
    const share = face.probabilities[name];
    cells[0].textContent = expressionName(name);
    cells[1].firstChild.firstChild.style.setProperty("--colour", colour(name));
    cells[1].firstChild.firstChild.style.width = `${100 * share}%`;
    cells[2].textContent = percent(share);
    table.rows[index].classList.toggle("top", name === face.expression);
  });
  element.querySelector("h3").textContent = title(face, number);
  element.querySelector("p").textContent = face.score == null ? "" : say("score", { score: face.score.toFixed(2) });
}

export function colour(name) {
  return state.about.colours[name] ?? "#888888";
}

function ink(hex) {
  const [red, green, blue] = [1, 3, 5].map((start) => parseInt(hex.slice(start, start + 2), 16));
  return 0.299 * red + 0.587 * green + 0.114 * blue > 128 ? "#000" : "#fff";
}

export function paragraph(text, className = "") {
  const element = document.createElement("p");
  element.className = className;
  element.textContent = text;
  return element;
}

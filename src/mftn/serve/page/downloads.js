// Files that the page offers for download.
import { shown, state } from "./state.js";

const POINTS = ["left_eye", "right_eye", "nose", "left_mouth", "right_mouth"];

/** Hand the browser a file to save. */
export function save(name, content, type) {
  const blob = content instanceof Blob ? content : new Blob([content], { type });
  const link = document.createElement("a");
  link.href = URL.createObjectURL(blob);
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10_000);
}

/** Predictions in the format of v1/predict, with the faces that are shown. */
export function asJson(predictions) {
  return JSON.stringify({ predictions: predictions.map(visible) }, null, 1);
}

/** One prediction per line. */
export function asJsonl(predictions) {
  return predictions.map((prediction) => `${JSON.stringify(visible(prediction))}\n`).join("");
}

/** One row per face, with the columns of `mftn predict --format csv`, as listed by the server. */
export function asCsv(predictions) {
  const columns = state.about.columns;
  const rows = predictions.map(visible).flatMap((prediction) =>
    (prediction.faces.length ? prediction.faces : [null]).map((face) => row(prediction, face)));
  return [columns, ...rows.map((values) => columns.map((name) => values[name] ?? ""))]
    .map((cells) => `${cells.map(cell).join(",")}\n`).join("");
}

function visible(prediction) {
  return { ...prediction, faces: shown(prediction) };
}

function row(prediction, face) {
  const values = { ...prediction, ...face };
  if (!face) return values;
  [values.left, values.top, values.right, values.bottom] = face.box;
  for (const [name, share] of Object.entries(face.probabilities)) values[`p_${name}`] = share;
  face.landmarks?.forEach(([x, y], index) => {
    values[`${POINTS[index]}_x`] = x;
    values[`${POINTS[index]}_y`] = y;
  });
  return values;
}

function cell(value) {
  const text = String(value);
  return /[",\r\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
}

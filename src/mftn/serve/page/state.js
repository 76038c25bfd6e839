// State shared by all parts of the page: the server's description, the selected model and threshold.
export const state = { about: null, model: null, threshold: 0.5 };

const listeners = [];

/** Call a function when the threshold or the model ("threshold", "model") changes. */
export function onChange(listener) {
  listeners.push(listener);
}

export function change(what, value) {
  state[what] = value;
  for (const listener of listeners) listener(what);
}

/** The query of every request: the selected model. */
export function query(more = {}) {
  return state.model ? { model: state.model, ...more } : more;
}

/** The faces that reach the threshold. */
export function shown(prediction) {
  return prediction.faces.filter((face) => face.score === null || face.score >= state.threshold);
}

// All text of the page. To translate it, replace this file; {name} is filled in.
export const strings = {
  title: "Facial expressions",
  skip: "Skip to content",
  modes: "Input",
  tabImages: "Photographs",
  tabCamera: "Camera",
  tabVideo: "Video",
  model: "Model",
  threshold: "Minimum score",
  themeDark: "Dark",
  themeLight: "Light",
  themeToDark: "Switch to dark colours",
  themeToLight: "Switch to light colours",

  drop: "Drop photographs here, or paste one",
  choose: "Choose photographs",
  dropHint: "They stay in the memory of the machine that serves this page until they are processed.",
  progress: "Progress",
  results: "Results",
  working: "{done} of {all} photographs",
  finished: "{read} photographs, {faces} faces",
  finishedOne: "1 photograph, {faces} faces",
  unread: "{refused} could not be read",
  cancelled: "Cancelled; {done} of {all} photographs are done",
  cancel: "Cancel",
  clear: "Remove all",
  remove: "Remove {name}",
  json: "JSON",
  jsonl: "JSONL",
  csv: "CSV",
  annotated: "Annotated image",
  waiting: "Waiting …",
  recognising: "Looking for faces …",
  noFace: "No face was found.",
  noFaceShown: "No face reaches this score.",
  faces: "{count} faces",
  oneFace: "1 face",
  noPreview: "This browser cannot display this format; the boxes show where the faces are.",
  facesIn: "Faces in {name}",
  face: "Face {number}: {expression} {share}",
  person: "Person {number}",
  personFace: "Person {number}: {expression} {share}",
  score: "face score {score}",
  selectFace: "Point at, tap or tab to a face to see its expressions.",

  cameraLead: "See expressions live",
  cameraStart: "Start the camera",
  cameraStop: "Stop the camera",
  cameraHint: "Frames are sent only to this page's own server. Nothing is stored.",
  cameraRate: "{rate} frames per second · {delay} ms",
  cameraStarting: "Starting …",
  cameraDenied: "Camera access is blocked. Allow it for this page, then start again.",
  cameraMissing: "No camera was found. Connect one, then start again.",
  cameraBusy: "The camera cannot be opened; another program may be using it.",
  cameraInsecure: "Browsers allow the camera only for pages on this machine or over HTTPS. Open the page at http://localhost or over HTTPS.",

  videoDrop: "Drop a video here",
  videoChoose: "Choose a video",
  videoHint: "Up to {size} and {minutes} minutes. It is held in memory while it is processed.",
  videoMissing: "This server cannot read videos: install mftn with the extra “video” and restart it.",
  videoSending: "Sending the video …",
  videoWorking: "{time} of {length}: {faces} faces in {frames} frames",
  videoDone: "{frames} frames, {people} people",
  videoCancelled: "Cancelled; {frames} frames are done",
  videoNoPlay: "This browser cannot play the file; its timeline is below.",
  people: "People in the video",
  timeline: "Timeline of expressions; move with the arrow keys",
  timelineAt: "{time}: {expression}",
  timelineNobody: "{time}: not seen",

  notice: "An expression is what a face looks like to others. It does not reveal what a person feels, thinks or intends.",
  limitsLink: "Limits and law",
  apiLink: "API",
  close: "Close",
  limitsTitle: "Limits and law",
  limits: [
    "This describes what a face in an image looks like to raters who saw the same pixels. Whether faces reveal emotions at all is disputed among psychologists.",
    "Intended for describing visible expressions in bulk: research on perceived expression, sorting photographs, comparing networks.",
    "Not for decisions about people – hiring, schooling, policing, insurance, border control, health – nor for monitoring people who have not agreed to it.",
    "It fails more often on faces turned far to the side, covered, blurred, dark or below about 20 pixels. Contempt and disgust are often missed; quiet sadness and neutral are confused. Accuracy by age, skin tone and culture has not been measured.",
    "In the European Union, Regulation (EU) 2024/1689, Article 5(1)(f), prohibits inferring emotions of people at work and in education, except for medical or safety reasons; Article 50(3) obliges users of emotion recognition to inform the people exposed to it. A photograph of a person, and what is derived from it, is personal data under the General Data Protection Regulation. Other countries have other rules. This is not legal advice.",
    "See docs/limits.md in the repository for more.",
  ],

  // Error messages by the server's error code. For other codes, the server's own message is shown.
  errors: {
    not_an_image: "This file is not a readable image. JPEG, PNG, WebP, GIF, TIFF and a few other formats are.",
    no_reader: "This server cannot read this format: {message}",
    damaged: "The image is damaged or incomplete: {message}",
    too_large: "Too large: {message}",
    too_slow: "The upload took too long. Is the connection slow?",
    timeout: "This took longer than the server allows; try a smaller image.",
    busy: "The server is busy; try again in a moment.",
    no_file: "The file is empty.",
    no_key: "The server requires a key. Reload the page and enter it as the password.",
    other_site: "The server refuses requests from other sites.",
    not_a_video: "This file is not a video that can be read: {message}",
    offline: "The server does not respond. Is it still running?",
    too_large_here: "{size} is more than this server accepts ({limit}).",
    too_many_here: "At most {limit} files at once.",
  },

  expressions: {
    neutral: "neutral", happiness: "happiness", surprise: "surprise", sadness: "sadness",
    anger: "anger", disgust: "disgust", fear: "fear", contempt: "contempt",
  },
  locale: "en",
};

/** A string with its names filled in. */
export function say(key, values = {}) {
  return fill(strings[key], values);
}

/** An expression's name in the page's language. */
export function expressionName(name) {
  return strings.expressions[name] ?? name;
}

/** The message for an error {code, message}. */
export function sayError(error, values = {}) {
  return fill(strings.errors[error.code] ?? error.message ?? String(error), { message: error.message, ...values });
}

export function percent(share) {
  return share.toLocaleString(strings.locale, { style: "percent" });
}

export function megabytes(bytes) {
  return `${(bytes / 1e6).toLocaleString(strings.locale, { maximumFractionDigits: 1 })} MB`;
}

/** Seconds as 1:02.3. */
export function clock(seconds) {
  const tenths = Math.round(seconds * 10);
  const rest = (tenths % 600) / 10;
  return `${Math.floor(tenths / 600)}:${rest < 10 ? "0" : ""}${rest.toFixed(1)}`;
}

/** Fill the page's elements with their text. */
export function fillPage() {
  document.documentElement.lang = strings.locale;
  for (const element of document.querySelectorAll("[data-text]")) element.textContent = strings[element.dataset.text];
  for (const element of document.querySelectorAll("[data-label]")) {
    element.setAttribute("aria-label", strings[element.dataset.label]);
  }
}

function fill(text, values) {
  return text.replace(/\{(\w+)\}/g, (whole, name) => values[name] ?? whole);
}

// Every word of the page. Another language is another file like this one; {name} is filled in.
export const strings = {
  title: "Facial expressions",
  skip: "Skip to the content",
  modes: "What to look at",
  tabImages: "Photographs",
  tabCamera: "Camera",
  tabVideo: "Video",
  model: "Model",
  threshold: "Face score from",
  themeDark: "Dark",
  themeLight: "Light",
  themeToDark: "Switch to dark colours",
  themeToLight: "Switch to light colours",

  drop: "Drop photographs here, or paste one",
  choose: "Choose photographs",
  dropHint: "They stay on the machine that serves this page, in memory, until they are answered.",
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
  noPreview: "This browser cannot show the format; the faces are where the boxes are.",
  facesIn: "Faces in {name}",
  face: "Face {number}: {expression} {share}",
  person: "Person {number}",
  personFace: "Person {number}: {expression} {share}",
  score: "face score {score}",
  selectFace: "Point at a face, tap it or tab to it for its expressions.",

  cameraLead: "See expressions live",
  cameraStart: "Start the camera",
  cameraStop: "Stop the camera",
  cameraHint: "Frames go to this page's own server, and nowhere else. Nothing is kept.",
  cameraRate: "{rate} frames a second · {delay} ms",
  cameraStarting: "Starting …",
  cameraDenied: "The browser may not use the camera. Allow it for this page, then start again.",
  cameraMissing: "No camera was found. Connect one, then start again.",
  cameraBusy: "The camera cannot be opened; another program may be using it.",
  cameraInsecure: "Browsers give the camera to pages on this machine or over HTTPS only. Open the page at http://localhost or behind HTTPS.",

  videoDrop: "Drop a video here",
  videoChoose: "Choose a video",
  videoHint: "Up to {size} and {minutes} minutes. It is held in memory while it is processed.",
  videoMissing: "This server reads no videos: install mftn with the extra “video” and start it again.",
  videoSending: "Sending the video …",
  videoWorking: "{time} of {length}: {faces} faces in {frames} frames",
  videoDone: "{frames} frames, {people} people",
  videoCancelled: "Cancelled; {frames} frames are done",
  videoNoPlay: "This browser cannot play the file; its timeline is below.",
  people: "People in the video",
  timeline: "Timeline of expressions; arrow keys move in it",
  timelineAt: "{time}: {expression}",
  timelineNobody: "{time}: not seen",

  notice: "An expression is what a face looks like to others. It does not tell what somebody feels, thinks or intends.",
  limitsLink: "Limits and law",
  apiLink: "For programs",
  close: "Close",
  limitsTitle: "Limits and law",
  limits: [
    "This describes what a face in an image looks like to raters who saw the same pixels. Whether faces reveal emotions at all is disputed among psychologists.",
    "Made for describing visible expressions in bulk: research on perceived expression, sorting photographs, comparing networks.",
    "Not for decisions about people – hiring, schooling, policing, insurance, border control, health – nor for watching people who have not agreed to it.",
    "It fails more often on faces turned far aside, covered, blurred, dark or below about 20 pixels. Contempt and disgust are often missed; quiet sadness and neutral are confused. Accuracy by age, skin tone and culture has not been measured.",
    "In the European Union, Regulation (EU) 2024/1689, Article 5(1)(f), prohibits inferring emotions of people at work and in education, except for medical or safety reasons; Article 50(3) obliges users of emotion recognition to inform the people exposed to it. A photograph of a person, and what is derived from it, is personal data under the General Data Protection Regulation. Other countries have other rules. This is no legal advice.",
    "The page docs/limits.md of the package says more.",
  ],

  // What the server refuses, by its code. A code that is missing here is shown in the server's own words.
  errors: {
    not_an_image: "This is not an image that can be read. JPEG, PNG, WebP, GIF, TIFF and a few others can.",
    no_reader: "This server cannot read the format: {message}",
    damaged: "The image is damaged or incomplete: {message}",
    too_large: "Too large: {message}",
    too_slow: "The upload took too long. Is the connection slow?",
    timeout: "This took longer than the server allows; try a smaller image.",
    busy: "The server is busy; try again in a moment.",
    no_file: "The file is empty.",
    no_key: "The server asks for its key. Reload the page and give it as the password.",
    other_site: "The server refuses pages of other sites.",
    not_a_video: "This is not a video that can be read: {message}",
    offline: "The server does not answer. Is it still running?",
    too_large_here: "{size} is more than this server takes ({limit}).",
    too_many_here: "Only {limit} files at once.",
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

/** What to tell the reader of an error {code, message}. */
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

/** Put the words into the page's elements. */
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

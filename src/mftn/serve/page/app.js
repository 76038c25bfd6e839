// Starts the page: text, tabs, options, and the three panels.
import { ask } from "./api.js";
import { startCamera, stopCamera } from "./camera.js";
import { paragraph } from "./faces.js";
import { addFiles, startImages } from "./images.js";
import { change, state } from "./state.js";
import { fillPage, say, sayError, strings } from "./strings.js";
import { openVideo, startVideo } from "./video.js";

const $ = (id) => document.getElementById(id);
const TABS = ["images", "camera", "video"];

function startTabs() {
  for (const name of TABS) $(`tab-${name}`).addEventListener("click", () => open(name));
  document.querySelector("[role=tablist]").addEventListener("keydown", (event) => {
    const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
    if (!step) return;
    const now = TABS.findIndex((name) => $(`tab-${name}`).getAttribute("aria-selected") === "true");
    open(TABS[(now + step + TABS.length) % TABS.length]);
  });
}

function open(name) {
  for (const each of TABS) {
    const selected = each === name;
    $(each).hidden = !selected;
    $(`tab-${each}`).setAttribute("aria-selected", String(selected));
    $(`tab-${each}`).tabIndex = selected ? 0 : -1;
  }
  $(`tab-${name}`).focus();
  if (name !== "camera") stopCamera();
}

function startTheme() {
  const system = matchMedia("(prefers-color-scheme: dark)");
  const dark = () => (document.documentElement.dataset.theme ?? (system.matches ? "dark" : "light")) === "dark";
  const show = () => {
    $("theme").textContent = say(dark() ? "themeLight" : "themeDark");
    $("theme").setAttribute("aria-label", say(dark() ? "themeToLight" : "themeToDark"));
  };
  $("theme").addEventListener("click", () => {
    document.documentElement.dataset.theme = dark() ? "light" : "dark";
    show();
  });
  system.addEventListener("change", show);
  show();
}

async function startOptions() {
  const { models, default: first } = await (await ask("v1/models")).json();
  const names = models.map((model) => model.name);
  for (const name of names.includes(first) ? names : [first, ...names]) {
    const option = new Option(name, name, name === first, name === first);
    option.title = models.find((model) => model.name === name)?.summary ?? "";
    $("model").append(option);
  }
  $("model").addEventListener("change", () => change("model", $("model").value));
  const threshold = $("threshold");
  const showThreshold = () => { $("threshold-value").textContent = Number(threshold.value).toFixed(2); };
  threshold.addEventListener("input", () => {
    showThreshold();
    change("threshold", Number(threshold.value));
  });
  showThreshold();
}

/** Files dropped or pasted anywhere; their type decides which panel gets them. */
function startDrops() {
  const take = (files) => {
    const video = [...files].find((file) => file.type.startsWith("video/"));
    if (video) {
      open("video");
      openVideo(video);
    } else if (files.length) {
      open("images");
      addFiles(files);
    }
  };
  for (const name of ["dragenter", "dragover"]) document.addEventListener(name, (event) => event.preventDefault());
  document.addEventListener("drop", (event) => {
    event.preventDefault();
    take(event.dataTransfer.files);
  });
  document.addEventListener("paste", (event) => take(event.clipboardData.files));
}

function startLimits() {
  $("limits-text").replaceChildren(...strings.limits.map((text) => paragraph(text)));
  $("limits-open").addEventListener("click", () => $("limits").showModal());
}

fillPage();
startTheme();
startTabs();
startLimits();
try {
  state.about = await (await ask("v1/about")).json();
  document.title = `${say("title")} · MFTN`;
  $("version").textContent = `MFTN ${state.about.version}`;
  await startOptions();
  startImages();
  startCamera();
  startVideo();
  startDrops();
  document.documentElement.dataset.ready = "true";
} catch (error) {
  const message = paragraph(sayError(error), "message");
  message.setAttribute("role", "alert");
  $("main").prepend(message);
}

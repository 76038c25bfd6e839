// The Node packages of peers.py: @vladmandic/human and @vladmandic/face-api on TensorFlow.js's WebAssembly backend,
// because the native backend downloads a library when it is installed. Run it in a package's own folder; it reads the
// paths from standard input, and prints the results as its last line.
import fs from 'node:fs';
import path from 'node:path';
import { createRequire } from 'node:module';
import { performance } from 'node:perf_hooks';

const [peer, task] = process.argv.slice(2);
const name = peer.split(',')[0];
const border = peer.endsWith('with a border') ? 200 : 0; // pixels; without a border, face-api finds hardly any close-ups
const require = createRequire(path.join(process.cwd(), 'package.json'));
const sharp = require('sharp');
const modules = path.join(process.cwd(), 'node_modules');

async function pixels(file) {
  const around = { top: border, bottom: border, left: border, right: border, background: { r: 128, g: 128, b: 128 } };
  const image = sharp(file).removeAlpha().toColourspace('srgb').extend(around);
  const { data, info } = await image.raw().toBuffer({ resolveWithObject: true });
  return { data, shape: [info.height, info.width, 3] };
}

// The largest face's probabilities, or null.
function largest(faces) {
  return faces.reduce((best, face) => (face.area > (best?.area ?? 0) ? face : best), null)?.probabilities ?? null;
}

async function loadHuman() {
  const models = path.join(modules, '@vladmandic/human/models');
  const fetched = globalThis.fetch; // TensorFlow.js reads models over HTTP, but these are on disk
  globalThis.fetch = async (url, options) => {
    if (!String(url).startsWith('http://models/')) return fetched(url, options);
    const file = path.join(models, new URL(url).pathname);
    const type = file.endsWith('.json') ? 'application/json' : 'application/octet-stream';
    return new Response(fs.readFileSync(file), { headers: { 'content-type': type } });
  };
  const { Human } = require(path.join(modules, '@vladmandic/human/dist/human.node-wasm.js'));
  const off = { enabled: false };
  const human = new Human({
    backend: 'wasm', wasmPath: path.join(modules, '@tensorflow/tfjs-backend-wasm/dist/'), modelBasePath: 'http://models/',
    debug: false, cacheSensitivity: 0, filter: off, body: off, hand: off, object: off, gesture: off, segmentation: off,
    face: { enabled: true, detector: { rotation: false, maxDetected: 10, skipFrames: 0, skipTime: 0 }, mesh: { enabled: true },
      iris: off, description: off, antispoof: off, liveness: off, emotion: { enabled: true, minConfidence: 0, skipFrames: 0, skipTime: 0 } },
  });
  await human.load();
  return async (file) => {
    const { data, shape } = await pixels(file);
    const image = human.tf.tensor(new Uint8Array(data), [1, ...shape], 'int32');
    const result = await human.detect(image);
    human.tf.dispose(image);
    return largest(result.face.filter((face) => face.emotion?.length).map((face) => ({
      area: face.box[2] * face.box[3], probabilities: Object.fromEntries(face.emotion.map((e) => [e.emotion, e.score])),
    })));
  };
}

async function loadFaceApi() {
  const wasm = require('@tensorflow/tfjs-backend-wasm');
  wasm.setWasmPaths(path.join(modules, '@tensorflow/tfjs-backend-wasm/dist/'));
  const api = require(path.join(modules, '@vladmandic/face-api/dist/face-api.node-wasm.js'));
  await api.tf.setBackend('wasm');
  await api.tf.ready();
  const models = path.join(modules, '@vladmandic/face-api/model');
  await api.nets.ssdMobilenetv1.loadFromDisk(models);
  await api.nets.faceLandmark68Net.loadFromDisk(models);
  await api.nets.faceExpressionNet.loadFromDisk(models);
  const options = new api.SsdMobilenetv1Options();
  return async (file) => {
    const { data, shape } = await pixels(file);
    const image = api.tf.tensor3d(new Uint8Array(data), shape, 'int32');
    const faces = await api.detectAllFaces(image, options).withFaceLandmarks().withFaceExpressions();
    image.dispose();
    return largest(faces.map((face) => ({ area: face.detection.box.area, probabilities: { ...face.expressions } })));
  };
}

const predict = await { human: loadHuman, 'face-api': loadFaceApi }[name]();
const { sets, warm_up } = JSON.parse(fs.readFileSync(0, 'utf8'));
if (task === 'cold') {
  await predict(sets.photos[0]);
  end({ finished: Date.now() / 1000 });
} else {
  for (const file of sets.photos.slice(0, warm_up)) await predict(file);
  const seconds = [];
  const outputs = {};
  for (const [set, files] of Object.entries(sets)) {
    outputs[set] = [];
    for (const file of files) {
      const start = performance.now();
      outputs[set].push(await predict(file));
      if (set === 'photos') seconds.push((performance.now() - start) / 1000);
    }
  }
  const total = seconds.reduce((sum, one) => sum + one, 0);
  const version = (item) => `${item} ${JSON.parse(fs.readFileSync(path.join(modules, item, 'package.json'))).version}`;
  const peak = process.resourceUsage().maxRSS / 1e3; // kilobytes
  const versions = [version(`@vladmandic/${name}`), version('@tensorflow/tfjs')].join(', ');
  end({ outputs, seconds, total, peak, versions });
}

// A pipe accepts 64 KB at a time: the process must not exit before the rest is written.
function end(findings) {
  process.stdout.write(`\n${JSON.stringify(findings)}\n`, () => process.exit(0));
}

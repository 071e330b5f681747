// The body of the function that Gradio calls once the camera's element is on the page, with element, props and upload.
// The camera is on while its tab is open. burst(count) takes photos and hands them to the page as uploads.
const INTERVAL_MS = 200; // as `python -m training capture`
const PATIENCE_MS = 10000; // for a camera's first picture

const block = element.closest("#camera");
const video = element.querySelector("video");
let camera = null; // a promise of the stream, while the camera is on or about to be

const sleep = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

async function start() {
  if (!navigator.mediaDevices) throw new DOMException("no secure context", "SecurityError");
  const stream = await navigator.mediaDevices.getUserMedia({
    audio: false,
    video: { facingMode: "environment", width: { ideal: 640 }, height: { ideal: 480 } },
  });
  video.srcObject = stream;
  return stream;
}

function open() {
  if (camera) return camera;
  props.value = "";
  const opening = start();
  opening.catch((error) => {
    if (camera === opening) camera = null;
    props.value = error.name; // the page has the sentence for it
  });
  return (camera = opening);
}

async function close() {
  const closing = camera;
  camera = null;
  const stream = await closing?.catch(() => null);
  if (!stream) return;
  stream.getTracks().forEach((track) => track.stop());
  if (video.srcObject === stream) video.srcObject = null;
}

async function firstPicture() {
  for (const end = performance.now() + PATIENCE_MS; video.readyState < HTMLMediaElement.HAVE_CURRENT_DATA; ) {
    if (performance.now() > end) throw new DOMException("no picture", "TimeoutError");
    await sleep(50);
  }
}

async function photograph(stream, number) {
  if (!stream.active) {
    close(); // so that the next burst looks for a camera anew
    throw new DOMException("the camera went away", "NotReadableError");
  }
  const canvas = document.createElement("canvas");
  [canvas.width, canvas.height] = [video.videoWidth, video.videoHeight];
  canvas.getContext("2d").drawImage(video, 0, 0);
  const blob = await new Promise((resolve) => canvas.toBlob(resolve, "image/png"));
  return new File([blob], `${String(number).padStart(3, "0")}.png`, { type: "image/png" });
}

function show(photo, list) {
  const image = new Image();
  image.onload = () => URL.revokeObjectURL(image.src);
  image.src = URL.createObjectURL(photo);
  image.alt = list.dataset.alt.replace("{number}", list.children.length + 1);
  list.appendChild(document.createElement("li")).append(image);
}

block.burst = async (count) => {
  if (!count) return [null, ""];
  const [progress, list] = document.querySelectorAll("#taken :is(progress, ol)");
  list.replaceChildren();
  [progress.max, progress.value, progress.hidden] = [count, 0, false];
  try {
    const stream = await open();
    await firstPicture();
    const photos = [];
    for (let due = performance.now(); photos.length < count; due += INTERVAL_MS) {
      await sleep(due - performance.now());
      photos.push(await photograph(stream, photos.length));
      show(photos.at(-1), list);
      progress.value = photos.length;
    }
    const files = await Promise.all(photos.map((photo) => upload(photo)));
    return [files.map(({ path }) => ({ path, meta: { _type: "gradio.FileData" } })), ""];
  } catch (error) {
    return [null, error.name];
  } finally {
    progress.hidden = true;
  }
};

let seen = false;
new ResizeObserver(() => {
  if (seen === (block.offsetParent !== null)) return;
  seen = !seen;
  if (seen) open().catch(() => {});
  else close();
}).observe(block);

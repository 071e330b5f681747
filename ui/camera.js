// The first part of the body of a function that Gradio calls once the camera's element is on the page, with element,
// props, trigger and upload. The second part (burst.js or live.js) has begin(), called when the camera's tab is opened,
// and failed(name), told the name of the browser's DOMException. The camera is on while its tab is open.
const PATIENCE_MS = 10000; // for a camera's first picture

const video = element.querySelector("video");
let camera = null; // a promise of the stream, while the camera is on or about to be
let pictured = false; // whether the video has shown a picture: before, it is drawn as nothing
let seen = false; // whether the tab is open

const sleep = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

async function start() {
  if (!navigator.mediaDevices) throw new DOMException("no secure context", "SecurityError");
  const width = Number(video.dataset.width);
  const stream = await navigator.mediaDevices.getUserMedia({
    audio: false,
    video: { facingMode: "environment", width: { ideal: width }, height: { ideal: (width * 3) / 4 } },
  });
  pictured = false;
  const shown = () => (pictured = true);
  if (video.requestVideoFrameCallback) video.requestVideoFrameCallback(shown);
  else video.addEventListener("playing", shown, { once: true });
  video.srcObject = stream;
  return stream;
}

function open() {
  if (camera) return camera;
  const opening = start();
  opening.catch((error) => {
    if (camera === opening) camera = null;
    failed(error.name);
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

async function firstPicture(stream) {
  // At its time 0 the video is drawn black, though it has shown a picture. A stream that was closed will never show one.
  for (const end = performance.now() + PATIENCE_MS; stream.active && (!pictured || !video.currentTime); ) {
    if (performance.now() > end) throw new DOMException("no picture", "TimeoutError");
    await sleep(50);
  }
}

async function photograph(stream) {
  if (!stream.active) {
    if (video.srcObject === stream) close(); // so that the next photo looks for a camera anew
    throw new DOMException("the camera went away", "NotReadableError");
  }
  const canvas = document.createElement("canvas");
  [canvas.width, canvas.height] = [video.videoWidth, video.videoHeight];
  canvas.getContext("2d").drawImage(video, 0, 0);
  return new Promise((resolve) => canvas.toBlob(resolve, "image/png"));
}

new ResizeObserver(() => {
  if (seen === (element.offsetParent !== null)) return;
  seen = !seen;
  if (seen) begin();
  else close();
}).observe(element);

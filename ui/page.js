// The body of a function that is called once, when the page is opened, with texts.
document.documentElement.lang = texts.language;
for (const id of ["answer", "heat", "status"]) {
  document.getElementById(id)?.setAttribute("role", "status");
  document.getElementById(id)?.setAttribute("aria-live", "polite");
}

// Gradio says "Error" when its requests fail. People hear what happened, and what to do.
const banner = document.createElement("p");
banner.id = "cut-off";
banner.hidden = true;
banner.setAttribute("role", "alert");
document.getElementById("intro").before(banner);
let told = 0; // sentences so far
let passes = false; // whether an answer of the service takes the sentence away
const tell = (sentence, cutOff = false) => {
  banner.textContent = sentence;
  banner.hidden = !sentence;
  passes = cutOff;
  if (!sentence) return;
  told += 1;
  banner.scrollIntoView({ block: "nearest" });
};
const ask = window.fetch;
window.fetch = async (...request) => {
  const before = told;
  try {
    const response = await ask(...request);
    if (response.status === 401) tell(texts.signedOut, true);
    else if (response.ok && passes && told === before) tell(""); // what was asked earlier says nothing of a later fault
    return response;
  } catch (error) {
    if (error.name !== "AbortError") tell(texts.gone, true);
    throw error;
  }
};
// What is wrong with a camera or a file stands until the person goes on to something else: the page asks by itself too.
document.addEventListener("click", () => (passes = true), { capture: true });

// The camera of the photo is Gradio's, which leaves a fault unsaid: people hear why there is no picture, and what to do.
// The other tabs' cameras have a line of their own for it.
if (!navigator.mediaDevices) {
  const refuse = async () => {
    throw new DOMException("no secure context", "SecurityError");
  };
  Object.defineProperty(navigator, "mediaDevices", { value: { getUserMedia: refuse } });
}
const film = navigator.mediaDevices.getUserMedia.bind(navigator.mediaDevices);
navigator.mediaDevices.getUserMedia = async (wanted) => {
  if (!document.getElementById("photo")?.offsetParent) return film(wanted);
  try {
    const stream = await film(wanted);
    tell("");
    return stream;
  } catch (error) {
    tell(texts.cameraFaults[error.name] ?? texts.cameraFaults.NotReadableError);
    return new Promise(() => {}); // Gradio would let it go uncaught, and asks anew at the next click
  }
};

// A file that Gradio would refuse with a word or two that vanish: people hear why, and what to do.
function fits(file) {
  const sentence = !file.type.startsWith("image/")
    ? texts.noPhoto
    : texts.maxBytes !== null && file.size > texts.maxBytes
      ? texts.tooHeavy
      : "";
  tell(sentence);
  return !sentence;
}
function check(event, file) {
  if (!file || fits(file)) return;
  event.preventDefault();
  event.stopImmediatePropagation();
}
const inPhoto = (event) => event.target instanceof Element && event.target.closest("#photo");
document.addEventListener(
  "change",
  (event) => {
    if (event.target.matches("#photo input[type=file]")) check(event, event.target.files[0]);
  },
  { capture: true },
);
document.addEventListener(
  "drop",
  (event) => {
    if (inPhoto(event)) check(event, event.dataTransfer.files[0]);
  },
  { capture: true },
);

// A photo may be pasted wherever nothing is being written.
document.addEventListener("paste", (event) => {
  const [file] = event.clipboardData?.files ?? [];
  const photo = document.getElementById("photo");
  if (!file || !photo?.offsetParent || event.target.closest?.("input, textarea") || !fits(file)) return;
  const chosen = new DataTransfer();
  chosen.items.add(file);
  const field = photo.querySelector("input[type=file]");
  if (!field) return;
  field.files = chosen.files;
  field.dispatchEvent(new Event("change", { bubbles: true }));
});

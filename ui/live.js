// While the tab is open, photo after photo goes to the page's own route /live, and its answer is shown.
const INTERVAL_MS = 300; // of one photo to the next, at least
const RETRY_MS = 2000; // after a failure

const answer = element.querySelector(".answer");
const spoken = element.querySelector(".spoken");
const pause = element.querySelector(".pause");
const faults = JSON.parse(element.querySelector(".live").dataset.faults);
const address = `${location.pathname.replace(/\/$/, "")}/live`;
let looking = false;
let paused = false;

function tell(html) {
  const fresh = document.createElement("div");
  fresh.innerHTML = html;
  const [old, now] = [answer, fresh].map((place) => [...place.querySelectorAll(".bars li")]);
  if (old.length && old.length === now.length) {
    // The bars stay and move; everything else is replaced.
    answer.querySelector(".heading").replaceChildren(...fresh.querySelector(".heading").childNodes);
    now.forEach((row, number) => {
      for (const part of [".name", ".share"])
        old[number].querySelector(part).textContent = row.querySelector(part).textContent;
      old[number].querySelector("i").style.width = row.querySelector("i").style.width;
    });
  } else answer.replaceChildren(...fresh.childNodes);
  const label = answer.querySelector("[data-label]")?.dataset.label ?? answer.textContent;
  if (spoken.dataset.label !== label) {
    // Screen readers hear of another answer, not of every percent.
    spoken.dataset.label = label;
    spoken.textContent = answer.querySelector(".sentence, .error")?.textContent ?? "";
  }
}

function failed(name) {
  const sentence = document.createElement("p");
  sentence.className = "error";
  sentence.textContent = faults[name] ?? faults.other;
  tell(sentence.outerHTML);
}

async function look() {
  const stream = await open();
  await firstPicture(stream);
  if (video.srcObject !== stream) return true; // paused, or the tab left, before there was a picture
  const photo = await photograph(stream);
  const response = await fetch(address, { method: "POST", body: photo, headers: { "Content-Type": "image/png" } });
  if (!response.headers.get("content-type")?.startsWith("text/html")) {
    throw new DOMException("no answer of the page", response.status === 401 ? "SignedOut" : "Unanswered");
  }
  if (seen && !paused) tell(await response.text());
  return !answer.querySelector(".error");
}

async function begin() {
  if (looking) return;
  looking = true;
  while (seen && !paused) {
    const due = performance.now() + INTERVAL_MS;
    let well = document.hidden;
    try {
      well ||= await look();
    } catch (error) {
      if (seen) failed(error instanceof DOMException ? error.name : "Unanswered");
    }
    await sleep(well ? due - performance.now() : RETRY_MS);
  }
  looking = false;
}

pause.addEventListener("click", () => {
  paused = !paused;
  pause.setAttribute("aria-pressed", paused);
  pause.textContent = paused ? pause.dataset.on : pause.dataset.off;
  if (paused) close();
  else begin();
});

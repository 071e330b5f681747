// burst(count), on the element #camera, takes photos and hands them to the page as uploads.
const INTERVAL_MS = 200; // as `python -m training capture`

const fault = element.querySelector(".error");
const faults = JSON.parse(fault.dataset.faults);

function begin() {
  fault.textContent = "";
  open().catch(() => {});
}

function failed(name) {
  fault.textContent = faults[name] ?? faults.other;
}

function show(photo, list) {
  const image = new Image();
  image.onload = () => URL.revokeObjectURL(image.src);
  image.src = URL.createObjectURL(photo);
  image.alt = list.dataset.alt.replace("{number}", list.children.length + 1);
  list.appendChild(document.createElement("li")).append(image);
}

document.getElementById("camera").burst = async (count) => {
  if (!count) return null;
  fault.textContent = "";
  const [progress, list] = document.querySelectorAll("#taken :is(progress, ol)");
  list.replaceChildren();
  [progress.max, progress.value, progress.hidden] = [count, 0, false];
  try {
    const stream = await open();
    await firstPicture(stream);
    const photos = [];
    for (let due = performance.now(); photos.length < count; due += INTERVAL_MS) {
      await sleep(due - performance.now());
      const name = `${String(photos.length).padStart(3, "0")}.png`;
      photos.push(new File([await photograph(stream)], name, { type: "image/png" }));
      show(photos.at(-1), list);
      progress.value = photos.length;
    }
    const files = await Promise.all(photos.map((photo) => upload(photo)));
    return files.map(({ path }) => ({ path, meta: { _type: "gradio.FileData" } }));
  } catch (error) {
    failed(error.name);
    return null;
  } finally {
    progress.hidden = true;
  }
};

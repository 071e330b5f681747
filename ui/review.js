// Called once with element, trigger and watch. Keys act on the card that has the focus; Tab leaves the grid.
const KEYS = { a: "accept", r: "reject", l: "relabel", n: "next", j: "next", p: "previous", k: "previous", z: "undo" };
let place = 0; // of the card with the focus
let held = false; // whether a card had the focus when it was decided

const cards = () => [...element.querySelectorAll(".cards > li")];

function go(number) {
  const all = cards();
  if (!all.length) return;
  place = Math.max(0, Math.min(number, all.length - 1));
  all.forEach((card, index) => (card.tabIndex = index === place ? 0 : -1));
  all[place].focus();
}

function decide(card, action, label = "") {
  place = cards().indexOf(card);
  held = true;
  trigger("click", { id: Number(card.dataset.id), action, label });
}

element.addEventListener("click", (event) => {
  const button = event.target.closest("[data-action]");
  if (button) decide(button.closest("[data-id]"), button.dataset.action);
});
element.addEventListener("submit", (event) => {
  event.preventDefault();
  const field = event.target.elements.label;
  decide(event.target.closest("[data-id]"), "relabel", field.value);
  field.value = "";
});
element.addEventListener("focusin", (event) => {
  const card = event.target.closest(".cards > li");
  if (card) place = cards().indexOf(card);
});
element.addEventListener("keydown", (event) => {
  const card = event.target.closest("[data-id]");
  if (!card || event.ctrlKey || event.altKey || event.metaKey) return;
  if (event.target.matches("input")) {
    if (event.key === "Escape") card.focus();
    return;
  }
  const action = KEYS[event.key.toLowerCase()] ?? { ArrowRight: "next", ArrowLeft: "previous" }[event.key];
  if (!action) return;
  event.preventDefault();
  if (action === "next") go(place + 1);
  else if (action === "previous") go(place - 1);
  else if (action === "relabel") card.querySelector("input").focus();
  else if (action === "undo") document.getElementById("review-undo")?.click();
  else decide(card, action);
});
watch("value", () => {
  const all = cards();
  for (const input of element.querySelectorAll("input")) input.value = "";
  if (held) go(place); // the next correction has taken its place
  held = false;
  all.forEach((card, index) => (card.tabIndex = index === place ? 0 : -1));
  if (all.length && place >= all.length) all[(place = 0)].tabIndex = 0;
});

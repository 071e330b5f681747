// Called once with element and trigger. The map is one stop of the Tab key; arrows move within it.
const MOVES = { ArrowRight: [0, 1], ArrowLeft: [0, -1], ArrowDown: [1, 0], ArrowUp: [-1, 0] };

element.addEventListener("click", (event) => {
  const cell = event.target.closest("[data-column]");
  if (!cell) return;
  for (const other of element.querySelectorAll("[data-column]")) {
    other.setAttribute("aria-pressed", other === cell);
    other.tabIndex = other === cell ? 0 : -1;
  }
  trigger("click", { window: Number(cell.dataset.window), column: cell.dataset.column });
});
element.addEventListener("keydown", (event) => {
  const cell = event.target.closest("[data-column]");
  const move = MOVES[event.key];
  if (!cell || !move) return;
  event.preventDefault();
  const rows = [...element.querySelectorAll("tbody tr")].map((row) => [...row.querySelectorAll("[data-column]")]);
  const row = rows.findIndex((cells) => cells.includes(cell));
  const next = rows[row + move[0]]?.[rows[row].indexOf(cell) + move[1]];
  if (!next) return;
  cell.tabIndex = -1;
  next.tabIndex = 0;
  next.focus();
});

// Called once with element and trigger: nothing is deleted before the person has said yes to what is asked.
element.addEventListener("click", (event) => {
  const button = event.target.closest("button[data-kind]");
  if (!button || !confirm(button.dataset.really)) return;
  trigger("click", { kind: button.dataset.kind, name: button.dataset.name });
});
element.addEventListener("submit", (event) => {
  event.preventDefault();
  const { kind, really } = event.target.dataset;
  const field = event.target.elements.name;
  if (field.value.trim() && !confirm(really)) return;
  trigger("click", { kind, name: field.value });
  field.value = "";
});

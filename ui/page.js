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
document.querySelector(".gradio-container").prepend(banner);
const tell = (sentence) => {
  banner.textContent = sentence;
  banner.hidden = !sentence;
  if (sentence) banner.scrollIntoView({ block: "nearest" });
};
const ask = window.fetch;
window.fetch = async (...request) => {
  try {
    const response = await ask(...request);
    if (response.status === 401) tell(texts.signedOut);
    else if (response.ok) tell("");
    return response;
  } catch (error) {
    if (error.name !== "AbortError") tell(texts.gone);
    throw error;
  }
};

// Called once with element and trigger: asks for fresh numbers while they can be seen.
setInterval(() => {
  if (element.offsetParent !== null && !document.hidden) trigger("submit");
}, REFRESH_MS);

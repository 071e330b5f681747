"""The web page and the HTTP client behind it. Imports nothing of ours but its own interface, `ui.api.Api`."""

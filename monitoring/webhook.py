"""Tells a URL of the owner's choice that there is drift: one POST of JSON, no photo, nothing about a person."""

from __future__ import annotations

import json
import sys
import urllib.request
from urllib.parse import urlsplit

from monitoring.drift import DriftResult

TIMEOUT_SECONDS = 10.0


def post(url: str, result: DriftResult, model: str, report: str | None) -> bool:
    """Send the verdict; False, with a line on stderr, when that failed: the check's own result must not depend on it.

    ``text`` holds the whole message as a sentence, which is what Slack, Mattermost and Teams show.
    """
    body = {
        "text": f"Drift in the traffic of {model}: {result.reason}",
        "model": model,
        "report": report,
        **result.model_dump(
            mode="json",
            include={
                "verdict", "reason", "start", "end", "since", "window_rows",
                "input_drift", "prediction_drift", "concept_drift",
            },
        ),
    }  # fmt: skip
    try:
        if urlsplit(url).scheme not in ("http", "https"):
            raise ValueError("it is no http or https address")
        request = urllib.request.Request(  # noqa: S310 - the scheme was checked
            url, json.dumps(body).encode(), {"Content-Type": "application/json"}
        )
        with urllib.request.urlopen(request, timeout=TIMEOUT_SECONDS):  # noqa: S310
            return True
    except (OSError, ValueError) as error:
        # The address may hold a secret: never print it.
        print(f"warning: the drift webhook was not reached: {type(error).__name__}", file=sys.stderr)
        return False

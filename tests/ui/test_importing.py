"""Gradio is imported without the stubs that it makes for editors, and works."""

from __future__ import annotations

import inspect
import json
import subprocess
import sys

from settings import ROOT

_COUNTED = """
import ast, json, sys

stubs, segment = [], ast.get_source_segment  # with which it cuts a class out of its file, for a stub

def counted(source, node):
    stubs.append(node.name)
    return segment(source, node)

ast.get_source_segment = counted
if sys.argv[1] == "ours":
    from ui.importing import import_gradio
    import_gradio()
import gradio
with gradio.Blocks() as demo:
    gradio.Image().change(lambda: None)
print(json.dumps([len(stubs), len(demo.fns)]))
"""


def stubs_and_events(how: str) -> list[int]:
    command = [sys.executable, "-c", _COUNTED, how]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr[-2000:]
    return json.loads(done.stdout.splitlines()[-1])


def test_no_stub_is_made_and_events_are_there() -> None:
    assert stubs_and_events("ours") == [0, 1]


def test_gradio_itself_still_makes_them() -> None:
    """When this fails, `ui.importing` is of no use any more."""
    made, events = stubs_and_events("plain")
    assert (made > 50, events) == (True, 1)


def test_the_files_of_classes_are_found_again_afterwards() -> None:
    from ui.importing import import_gradio

    before = inspect.getfile
    import_gradio()
    assert inspect.getfile is before

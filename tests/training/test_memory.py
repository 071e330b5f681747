"""What a process frees it has again without the kernel."""

from __future__ import annotations

import subprocess
import sys

from settings import ROOT

REPEATED = """
import resource, sys
from training.memory import keep_freed_memory
if sys.argv[1] == "kept":
    keep_freed_memory()
for _ in range(10):
    b"x" * 64_000_000
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt)
"""


def page_faults(way: str) -> int:
    done = subprocess.run([sys.executable, "-c", REPEATED, way], cwd=ROOT, capture_output=True, text=True, check=True)
    return int(done.stdout)


def test_large_pieces_are_found_by_the_kernel_once() -> None:
    once = 64_000_000 // 4096
    assert page_faults("given back") - page_faults("kept") > 5 * once

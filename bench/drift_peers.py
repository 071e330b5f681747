"""What Evidently says of the same windows, by its own defaults. Runs in an environment of its own.

`python bench/drift_peers.py FILE`, the file made by `judge`, prints a line of JSON: for each window whether any column
drifted, and whether half of them did, which is what Evidently calls dataset drift.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

Rows = Mapping[str, Any]


def judge(python: Path, pairs: Iterable[tuple[Rows, Rows]]) -> list[dict[str, bool]]:
    """Evidently's verdicts on pairs of a reference and a window, by the interpreter ``python``."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "windows.npz"
        arrays = {
            f"{number}/{side}/{name}": values
            for number, pair in enumerate(pairs)
            for side, table in zip(("reference", "window"), pair, strict=True)
            for name, values in table.items()
        }
        np.savez(path, **arrays)
        command = [str(python), "-W", "ignore", __file__, str(path)]
        done = subprocess.run(command, check=True, capture_output=True, text=True)
    found: list[dict[str, bool]] = json.loads(done.stdout)
    return found


def main(path: str) -> int:
    import pandas as pd
    from evidently import Report
    from evidently.presets import DataDriftPreset

    tables: dict[int, dict[str, dict[str, Any]]] = {}
    with np.load(path) as arrays:
        for key in arrays.files:
            number, side, name = key.split("/")
            tables.setdefault(int(number), {}).setdefault(side, {})[name] = arrays[key]
    found = []
    for number in sorted(tables):
        window, reference = (pd.DataFrame(tables[number][side]) for side in ("window", "reference"))
        metrics = Report([DataDriftPreset()]).run(window, reference).dict()["metrics"]
        share = next(m["value"]["share"] for m in metrics if m["metric_name"].startswith("DriftedColumnsCount"))
        found.append({"any": bool(share > 0), "half": bool(share >= 0.5)})
    print(json.dumps(found))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))

"""`make mlflow`: MLflow's pages over the store that the settings name, for this machine alone."""

from __future__ import annotations

import argparse
import os
import socket
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
HOST = "127.0.0.1"


def main() -> None:
    sys.path.insert(0, str(ROOT))
    from monitoring.tracking import make_file
    from settings import BadSettingError, configure_environment, read_settings

    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("port", type=int)
    port = parser.parse_args().port
    try:
        settings = read_settings()
    except BadSettingError as error:
        sys.exit(f"error: {error}")
    if settings.mlflow.startswith(("http://", "https://", "databricks")):
        print(f"MLflow has a server of its own, which shows its pages: {settings.mlflow}")
        return
    with socket.socket() as trial:
        if trial.connect_ex((HOST, port)) == 0:
            sys.exit(f"error: port {port} is taken; choose another: make mlflow MLFLOW_PORT=5001")
    configure_environment(settings)
    make_file(settings)
    os.environ["MLFLOW_BACKEND_STORE_URI"] = settings.mlflow  # an argument with its password would be for all to see
    os.environ.setdefault("MLFLOW_SERVER_ENABLE_JOB_EXECUTION", "false")  # eight more processes, for language models
    # One reader needs one worker; each takes 250 MB and seconds to start.
    program = str(Path(sys.executable).with_name("mlflow"))
    os.execv(program, [program, "ui", "--host", HOST, "--port", str(port), "--workers", "1"])  # noqa: S606


if __name__ == "__main__":
    main()

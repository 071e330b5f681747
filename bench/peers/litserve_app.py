"""The model behind LitServe with its batching: `python -m bench.peers.litserve_app PORT`.

LitServe reads the annotations of `Api.decode_request` as they stand, so they must not be strings here.
"""

import sys
from typing import Any

import litserve
import numpy as np
from fastapi import Request
from numpy.typing import NDArray

from bench.peers.model import Model


class Api(litserve.LitAPI):
    def setup(self, device: str) -> None:  # noqa: ARG002
        self.model = Model()

    def decode_request(self, request: Request) -> NDArray[np.uint8]:
        return self.model.decode(request["image"].file.read())

    def batch(self, inputs: list[NDArray[np.uint8]]) -> NDArray[np.uint8]:
        return np.stack(inputs)

    def predict(self, x: NDArray[np.uint8]) -> list[dict[str, Any]]:
        return self.model.score(x)

    def unbatch(self, output: list[dict[str, Any]]) -> list[dict[str, Any]]:
        return output

    def encode_response(self, output: dict[str, Any]) -> dict[str, Any]:
        return output


if __name__ == "__main__":
    api = Api(max_batch_size=64, batch_timeout=0.001, api_path="/classify")
    server = litserve.LitServer(api, accelerator="cpu", healthcheck_path="/readyz", fast_queue=True)
    quiet = {"generate_client_file": False, "access_log": False, "log_level": "warning"}
    server.run(port=int(sys.argv[1]), host="127.0.0.1", **quiet)

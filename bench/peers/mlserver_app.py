"""The model behind MLServer: `mlserver start FOLDER`, whose settings name `Runtime`."""

from __future__ import annotations

from fastapi import UploadFile
from fastapi.responses import JSONResponse
from mlserver import MLModel
from mlserver.handlers import custom_handler

from bench.peers.model import Model


class Runtime(MLModel):
    async def load(self) -> bool:
        self.model = Model()
        return True

    @custom_handler(rest_path="/classify")
    async def classify(self, image: UploadFile) -> JSONResponse:
        return JSONResponse(self.model.classify(await image.read()))

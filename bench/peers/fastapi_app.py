"""The model behind FastAPI on uvicorn: `uvicorn bench.peers.fastapi_app:app`."""

from __future__ import annotations

from fastapi import FastAPI, UploadFile
from fastapi.responses import JSONResponse

from bench.peers.model import Model

app = FastAPI()
model = Model()


@app.get("/readyz")
async def readyz() -> dict[str, bool]:
    return {"ready": True}


@app.post("/classify")
async def classify(image: UploadFile) -> JSONResponse:
    return JSONResponse(model.classify(await image.read()))


@app.post("/classify_threads")
def classify_threads(image: UploadFile) -> JSONResponse:
    return JSONResponse(model.classify(image.file.read()))

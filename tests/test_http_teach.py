"""The calls that the page teaches with: why, as the network sees it, live frames, and feedback taken back."""

from __future__ import annotations

import asyncio
import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from runners.images import read_photo
from runners.occlusion import GRID
from tests.serving import Slow, classify, photo, scores, world


def stripes() -> bytes:
    """A dark and a light stripe on grey."""
    pixels = np.full((32, 32, 3), 150, np.uint8)
    pixels[:, 8:12] = 0
    pixels[:, 20:24] = 255
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    return buffer.getvalue()


def test_explain_is_one_batch_and_stores_nothing(tmp_path: Path) -> None:
    batches = []

    async def counted(pixels: np.ndarray):
        batches.append(len(pixels))
        return scores(pixels)

    async def main() -> None:
        here = world(tmp_path, counted)
        async with here.client() as client:
            answer = (await client.post("/explain", files={"image": ("photo", stripes())})).json()
        assert (answer["label"], len(answer["heat"])) == ("dog", GRID)
        heat = np.array(answer["heat"])
        assert heat.shape == (GRID, GRID)
        assert heat[0, 2] < 0 < heat[0, 4], "the dark stripe speaks against a light photo, the light one for it"
        assert batches == [1 + GRID * GRID]
        assert here.metric('cifar_predictions_total{label="dog"}') == 0

    asyncio.run(main())


@pytest.mark.parametrize("path", ["/explain", "/preview"])
def test_a_bad_photo_is_refused_as_elsewhere(tmp_path: Path, path: str) -> None:
    async def main() -> None:
        async with world(tmp_path, max_upload_bytes=20_000).client() as client:
            for data, expected in (
                (b"no photo", (400, "not_an_image")),
                (b"%PDF-1.7", (415, "unsupported_type")),
                (b"x" * 200_000, (413, "too_many_bytes")),
            ):
                answer = await client.post(path, files={"image": ("photo", data)})
                assert (answer.status_code, answer.json()["error"]["code"]) == expected

    asyncio.run(main())


def test_explain_without_room_is_503(tmp_path: Path) -> None:
    async def main() -> None:
        async with world(tmp_path, Slow(0.0), max_queue=20).client() as client:
            answer = await client.post("/explain", files={"image": ("photo", photo())})
            assert (answer.status_code, answer.json()["error"]["code"]) == (503, "overloaded")

    asyncio.run(main())


def test_the_preview_is_what_the_network_reads(tmp_path: Path) -> None:
    noise = np.random.default_rng(1).integers(0, 256, (240, 320, 3), dtype=np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(noise).save(buffer, "PNG")

    async def main() -> None:
        async with world(tmp_path).client() as client:
            answer = await client.post("/preview", files={"image": ("photo", buffer.getvalue())})
        assert answer.headers["content-type"] == "image/png"
        with Image.open(io.BytesIO(answer.content)) as seen:
            assert (np.asarray(seen) == read_photo(buffer.getvalue()).pixels).all()

    asyncio.run(main())


def test_a_live_frame_is_answered_and_forgotten(tmp_path: Path) -> None:
    class Recorded:
        rows = 0

        def record(self, pixels: np.ndarray, *_: object) -> None:
            self.rows += len(pixels)

    async def main() -> None:
        here = world(tmp_path)
        recorder = Recorded()
        here.handlers.serving.recorder = recorder
        async with here.client() as client:
            live = await client.post("/classify?live=true", files={"image": ("photo", photo())})
            assert (live.status_code, live.json()["label"]) == (200, "dog")
            assert recorder.rows == 0
            assert here.metric('cifar_predictions_total{label="dog"}') == 0
            body = {"prediction_id": live.json()["prediction_id"], "correct": True}
            assert (await client.post("/feedback", json=body)).status_code == 404
            still = await classify(client, photo())
            assert still.json()["probabilities"] == live.json()["probabilities"]
            assert recorder.rows == 1
            assert here.metric('cifar_predictions_total{label="dog"}') == 1

    asyncio.run(main())


@pytest.mark.parametrize(("said", "kept"), [("", True), ("?live=false", True), ("?live=0", True), ("?live=1", False)])
def test_live_is_any_boolean(tmp_path: Path, said: str, kept: bool) -> None:
    async def main() -> None:
        here = world(tmp_path)
        async with here.client() as client:
            await client.post(f"/classify{said}", files={"image": ("photo", photo())})
            assert here.metric('cifar_predictions_total{label="dog"}') == kept
            wrong = await client.post("/classify?live=perhaps", files={"image": ("photo", photo())})
            assert (wrong.status_code, wrong.json()["error"]["code"]) == (422, "bad_fields")
            assert wrong.json()["error"]["message"].startswith("query.live: ")

    asyncio.run(main())


def test_feedback_taken_back_is_gone_and_never_trains(tmp_path: Path) -> None:
    async def main() -> None:
        here = world(tmp_path)
        store = here.handlers._feedback
        async with here.client() as client:
            asked = (await classify(client, photo())).json()["prediction_id"]
            body = {"prediction_id": asked, "correct": False, "label": "cat"}
            for accepted in (False, True):
                saved = (await client.post("/feedback", json=body)).json()["id"]
                assert list(store.images.digests())
                if accepted:
                    store.set_state([saved], "accepted")
                    assert [correction.id for correction in store.accepted()] == [saved]
                answer = await client.delete(f"/feedback/{asked}")
                assert answer.json() == {"prediction_id": asked, "withdrawn": True}
                assert store.pending() == store.accepted() == list(store.images.digests()) == []
                again = await client.delete(f"/feedback/{asked}")
                assert (again.status_code, again.json()["error"]["code"]) == (404, "unknown_feedback")
            assert (await client.post("/feedback", json=body)).status_code == 200, "another opinion is welcome"
            assert here.metric('cifar_requests_total{code="200",method="DELETE",path="/feedback"}') == 2

    asyncio.run(main())


def test_withdrawing_without_a_store_is_503(tmp_path: Path) -> None:
    async def main() -> None:
        async with world(tmp_path, migrate=False).client() as client:
            answer = await client.delete("/feedback/abc")
            assert (answer.status_code, answer.json()["error"]["code"]) == (503, "feedback_unavailable")

    asyncio.run(main())

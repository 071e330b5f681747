"""``POST /captures``: what is kept, what is refused, and whose call it is."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

import httpx
import pytest
from fastapi.testclient import TestClient
from PIL import Image

from http_api import add_fallback, add_routes, new_app
from http_handlers import Handlers, Serving
from runners.prediction import ModelTags
from settings import Settings
from tests.conftest import encoded
from training.classes import read_classes
from training.sources import folder_samples


def client_of(root: Path, **options: Any) -> TestClient:
    """The API over the data root ``root``; nothing here asks the network, the feedback store or the recorder."""
    settings = Settings(data_dir=root, page=False, **options)
    nothing = cast("Any", None)
    handlers = Handlers(settings, Serving(ModelTags(cnn="a:1", forest="b:1"), ("cat",), nothing, None), nothing)
    app = new_app(settings)
    add_routes(app, lambda: handlers, settings)
    add_fallback(app)
    return TestClient(app, base_url="http://127.0.0.1:3000")


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "data"


@pytest.fixture
def client(root: Path) -> Iterator[TestClient]:
    with client_of(root) as client:
        yield client


def send(client: TestClient, *photos: bytes, label: str | None = "mug", **headers: str | bytes) -> httpx.Response:
    files = [("images", ("photo", photo)) for photo in photos]
    return client.post("/captures", files=files, data={"label": label} if label is not None else {}, headers=headers)


def code(answer: httpx.Response) -> tuple[int, str]:
    return answer.status_code, answer.json()["error"]["code"]


def test_a_burst_is_kept_as_clean_png(client: TestClient, root: Path, picture: Image.Image) -> None:
    exif = Image.Exif()
    exif[0x010F] = "Somebody's camera"
    exif[0x0112] = 6  # stored lying on its side
    answer = send(client, encoded(picture), encoded(picture, "JPEG", exif=exif))
    assert answer.status_code == 200, answer.text
    burst = answer.json()
    assert burst == {"folder": burst["folder"], "photos": 2, "line": "  mug: captured/mug"}
    assert Path(burst["folder"]).parent == Path("captured/mug")
    first, second = sorted((root / burst["folder"]).iterdir())
    assert [first.name, second.name] == ["000.png", "001.png"]
    with Image.open(first) as image:
        assert (image.format, image.tobytes()) == ("PNG", picture.tobytes())
    with Image.open(second) as image:
        assert (image.format, image.size) == ("PNG", picture.size[::-1])
        assert not image.getexif()
        assert not image.info
    assert b"Somebody" not in second.read_bytes()


def test_training_reads_each_burst_as_one_group(client: TestClient, root: Path, picture: Image.Image) -> None:
    lines = [send(client, encoded(picture), encoded(picture), label=name).json()["line"] for name in ("mug", "mug")]
    samples = list(folder_samples("mug", root / "captured" / "mug"))
    assert len(samples) == 4
    assert len({sample.group for sample in samples}) == 2
    lines.append(send(client, encoded(picture), label="no").json()["line"])
    lines.append(send(client, encoded(picture), label="2nd mug").json()["line"])
    file = root / "classes.yaml"
    file.write_text("folders:\n" + "\n".join(lines[1:]) + "\n")
    assert read_classes(file, root).labels == ("mug", "no", "2nd mug")


def test_one_bad_photo_and_nothing_is_stored(client: TestClient, root: Path, picture: Image.Image) -> None:
    good = encoded(picture)
    for bad, expected in (
        (b"no photo", (400, "not_an_image")),
        (good[:200], (400, "broken_image")),
        (b"", (400, "empty_file")),
        (b"%PDF-1.7", (415, "unsupported_type")),
    ):
        answer = send(client, good, bad, good)
        assert code(answer) == expected
        assert answer.json()["error"]["message"].startswith("Photo 2: ")
    assert not root.exists()


@pytest.mark.parametrize("label", ["", "..", "../mug", "a/b", ".mug", " mug", "unknown", "m" * 65, "m" * 10_000])
def test_what_is_no_class_name_is_refused(client: TestClient, root: Path, picture: Image.Image, label: str) -> None:
    answer = send(client, encoded(picture), label=label)
    assert code(answer) == (422, "bad_label")
    assert len(answer.json()["error"]["message"]) < 300
    assert not root.exists()


def test_a_form_that_is_not_whole_is_refused(client: TestClient, root: Path, picture: Image.Image) -> None:
    photo = ("images", ("photo", encoded(picture)))
    for form in (
        {"files": [photo]},
        {"files": [("other", photo[1])], "data": {"label": "mug"}},
        {"files": [photo], "data": {"label": "mug", "more": "x"}},
        {"files": [photo], "data": {"label": ["mug", "cup"]}},
        {"files": [photo, ("label", ("label", b"mug"))]},
        {"data": {"label": "mug"}},
        {"json": {"label": "mug"}},
    ):
        assert code(client.post("/captures", **form)) == (422, "bad_fields"), form
    assert not root.exists()


def test_too_many_or_too_large(root: Path, picture: Image.Image) -> None:
    with client_of(root, max_files=2, max_batch_bytes=10_000) as client:
        small = encoded(picture.resize((8, 8)))
        assert code(send(client, small, small, small)) == (422, "bad_fields")
        assert code(send(client, b"x" * 100_000)) == (413, "too_many_bytes")
        assert send(client, small, small).status_code == 200


def test_a_folder_that_cannot_be_written_is_told(root: Path, client: TestClient, picture: Image.Image) -> None:
    root.write_bytes(b"a file where the folder should be")
    answer = send(client, encoded(picture))
    assert code(answer) == (503, "captures_unavailable")
    assert "Not a directory" in answer.json()["error"]["message"]


def basic(token: str) -> str:
    return "Basic " + base64.b64encode(f"me:{token}".encode()).decode()


@pytest.mark.parametrize(
    ("tokens", "owner", "header", "status"),
    [
        ((), None, None, 200),
        ((), None, "Bearer whatever", 200),
        (("caller",), None, "Bearer caller", 403),
        (("caller",), "owner", None, 401),
        (("caller",), "owner", "Bearer wrong", 401),
        (("caller",), "owner", "Bearer caller", 403),
        (("caller",), "owner", "Bearer owner", 200),
        (("caller",), "owner", basic("owner"), 200),
        (("caller",), "owner", basic("caller"), 403),
        ((), "owner", None, 403),
        ((), "owner", "Bearer ", 403),
        ((), "owner", "Bearer öwner".encode(), 403),
        ((), "owner", "Bearer owner", 200),
    ],
)
def test_whose_call_it_is(
    root: Path,
    picture: Image.Image,
    tokens: tuple[str, ...],
    owner: str | None,
    header: str | bytes | None,
    status: int,
) -> None:
    with client_of(root, api_tokens=tokens, owner_token=owner) as client:
        answer = send(client, encoded(picture), **({"Authorization": header} if header else {}))
        assert answer.status_code == status
        if status == 403:
            assert code(answer) == (403, "owner_only")
        assert root.exists() == (status == 200)


def test_the_owners_token_opens_the_rest_too(root: Path) -> None:
    with client_of(root, api_tokens=("caller",), owner_token="owner") as client:
        assert client.get("/labels").status_code == 401
        assert client.get("/labels", headers={"Authorization": "Bearer owner"}).json()["classes"] == ["cat"]


def test_another_sites_page_cannot_use_its_visitors_service(client: TestClient, picture: Image.Image) -> None:
    photo = encoded(picture)
    assert code(send(client, photo, Origin="https://elsewhere.example")) == (403, "owner_only")
    for origin in ("null", "http://127.0.0.1:8080", "http://["):
        assert code(send(client, photo, Origin=origin)) == (403, "owner_only")
    assert send(client, photo, Origin="http://127.0.0.1:3000").status_code == 200


def test_the_owners_token_is_not_shown_and_not_empty() -> None:
    assert "secret" not in repr(Settings(owner_token="secret"))
    with pytest.raises(ValueError, match="owner_token"):
        Settings(owner_token="")

"""Photos at an fsspec URL: the same promises as in a folder, as far as the other side can keep them."""

from __future__ import annotations

import hashlib
import uuid
from pathlib import Path
from typing import Any

import pytest

from monitoring.feedback import FeedbackStore, NewFeedback
from monitoring.image_store import DamagedImageError, ImageStore, open_images
from monitoring.remote_images import RemoteImageStore
from runners.prediction import ApiError
from settings import ROOT, Settings

PNG = b"\x89PNG\r\n\x1a\n" + bytes(range(256)) * 40


@pytest.fixture
def url() -> str:
    return f"memory://bucket-{uuid.uuid4().hex}/photos"


@pytest.fixture
def store(url: str) -> RemoteImageStore:
    found = open_images(url)
    assert isinstance(found, RemoteImageStore)
    return found


def test_paths_and_file_urls_are_folders_and_anything_else_is_remote(tmp_path: Path, url: str) -> None:
    for address in (str(tmp_path), f"file://{tmp_path}"):
        found = open_images(address)
        assert isinstance(found, ImageStore)
        assert found.root == tmp_path
    assert isinstance(open_images(url), RemoteImageStore)


@pytest.mark.parametrize("address", ["nonsense://bucket", "gs://bucket/photos"])
def test_a_url_without_its_package_is_refused_in_a_sentence(address: str) -> None:
    with pytest.raises(ValueError, match=r"image store .*is not usable"):
        open_images(address)


def test_s3_comes_with_the_service_and_nobody_is_asked_before_the_first_photo() -> None:
    found = open_images("s3://bucket/photos")
    assert isinstance(found, RemoteImageStore)
    assert type(found._files).__module__ == "s3fs.core"
    sha256 = hashlib.sha256(PNG).hexdigest()
    assert found.place(sha256) == f"s3://bucket/photos/{sha256[:2]}/{sha256[2:4]}/{sha256}.png"
    assert "\ns3fs==" in (ROOT / "requirements-serving.lock").read_text(), "the image has it too"


def test_what_is_put_is_found_by_the_digest_of_its_bytes(store: RemoteImageStore, url: str) -> None:
    sha256 = store.put(PNG)
    assert sha256 == hashlib.sha256(PNG).hexdigest() == store.put(PNG)
    assert store.exists(sha256)
    assert store.get(sha256) == PNG
    place = store.place(sha256)
    assert place.startswith("memory://")
    assert place.endswith(f"{url.removeprefix('memory:/')}/{sha256[:2]}/{sha256[2:4]}/{sha256}.png")
    assert list(store.digests()) == [sha256]
    assert store.delete(sha256)
    assert not store.delete(sha256)
    assert list(store.digests()) == []


def test_damage_is_noticed_and_mended_by_the_next_put(store: RemoteImageStore) -> None:
    sha256 = store.put(PNG)
    store._files.pipe_file(store._path(sha256), PNG[:-1])
    with pytest.raises(DamagedImageError, match="damaged"):
        store.get(sha256)
    store.put(PNG)
    assert store.get(sha256) == PNG


def test_a_missing_photo_is_named_and_only_digests_name_photos(store: RemoteImageStore) -> None:
    sha256 = hashlib.sha256(b"never put").hexdigest()
    with pytest.raises(FileNotFoundError, match=sha256):
        store.get(sha256)
    assert not store.exists(sha256)
    with pytest.raises(ValueError, match="SHA-256"):
        store.get("../../etc/passwd")


def test_what_is_not_ours_is_no_photo(store: RemoteImageStore) -> None:
    sha256 = store.put(PNG)
    for name in ("notes.txt", f"{sha256}.png", f"ab/cd/{sha256}.png"):
        store._files.pipe_file(f"{store._root}/{name}", b"mine")
    assert list(store.digests()) == [sha256]


def answer(prediction_id: str, image: bytes = PNG) -> NewFeedback:
    return NewFeedback(
        prediction_id=prediction_id,
        correct=False,
        label="dog",
        predicted_label="cat",
        best_guess="cat",
        probability=0.6,
        in_distribution=True,
        ood_p_value=0.5,
        cnn_tag="cifar_cnn:test",
        image=image,
    )


def test_feedback_with_its_photos_elsewhere(tmp_path: Path, url: str) -> None:
    feedback = FeedbackStore.open(Settings(var=tmp_path, database_url=None, image_store=url))
    assert feedback.healthy()
    for number in range(3):
        feedback.save(answer(f"p{number}", b"photo %d" % number))
    rows = feedback.pending()
    assert [feedback.images.get(str(row.image_sha256)) for row in rows] == [b"photo 0", b"photo 1", b"photo 2"]
    orphan = feedback.images.put(b"nobody's")
    assert feedback.sweep() == 1
    assert not feedback.images.exists(orphan)
    assert feedback.delete("p1")
    assert len(list(feedback.images.digests())) == 2
    assert not (tmp_path / "images").exists()


def test_another_side_that_fails_is_a_503_and_leaves_no_row(
    tmp_path: Path, url: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    class DriverError(Exception):
        """What a driver raises that knows nothing of OSError."""

    def away(*_: Any, **__: Any) -> None:
        raise DriverError("https://key:secret@host cannot be reached")

    feedback = FeedbackStore.open(Settings(var=tmp_path, database_url=None, image_store=url))
    assert isinstance(feedback.images, RemoteImageStore)
    with monkeypatch.context() as other_side:
        for name in ("pipe_file", "info"):
            other_side.setattr(feedback.images._files, name, away)
        with pytest.raises(ApiError) as caught:
            feedback.save(answer("p"))
        assert not feedback.healthy()
    assert (caught.value.status, caught.value.code) == (503, "feedback_unavailable")
    assert "secret" not in caplog.text + caught.value.message
    assert feedback.is_empty()
    assert feedback.healthy()
    assert feedback.save(answer("p")).created

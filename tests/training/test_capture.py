"""A burst from a film of known colours, from no camera, and what is refused."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from runners.prediction import ApiError
from training.capture import CaptureError, capture, class_folder
from training.sources import folder_samples

FPS = 10


@pytest.fixture
def film(tmp_path: Path) -> str:
    """Two seconds at 10 frames a second, 160×120; frame n is grey 10 n in its left half and black in its right."""
    path = str(tmp_path / "film.avi")
    writer = cv2.VideoWriter(path, cv2.VideoWriter.fourcc(*"MJPG"), FPS, (160, 120))
    assert writer.isOpened()
    for n in range(20):
        frame = np.zeros((120, 160, 3), np.uint8)
        frame[:, :80] = 10 * n
        writer.write(frame)
    writer.release()
    return path


def pixels(path: Path) -> np.ndarray:
    with Image.open(path) as image:
        return np.asarray(image)


def greys(paths: list[Path]) -> list[int]:
    return [round(pixels(path)[:, 10:70].mean() / 10) for path in paths]


def test_a_burst_is_taken_at_its_interval_and_is_one_group(tmp_path: Path, film: str) -> None:
    folder = class_folder(tmp_path, "mug")
    paths = capture(folder, 4, 0.5, film)
    assert [path.name for path in paths] == ["000.png", "001.png", "002.png", "003.png"]
    assert greys(paths) == [0, 5, 10, 15]
    assert pixels(paths[0]).shape == (120, 160, 3)
    assert folder == tmp_path / "captured" / "mug"
    second = capture(folder, 2, 0.1, film)
    assert greys(second) == [0, 1]
    found = list(folder_samples("mug", folder))
    assert len(found) == 6
    assert len({sample.group for sample in found}) == 2


def test_colours_are_not_swapped(tmp_path: Path) -> None:
    path = str(tmp_path / "red.avi")
    writer = cv2.VideoWriter(path, cv2.VideoWriter.fourcc(*"MJPG"), FPS, (64, 64))
    for _ in range(3):
        writer.write(np.full((64, 64, 3), (0, 0, 255), np.uint8))  # OpenCV's order: blue, green, red
    writer.release()
    (photo,) = capture(tmp_path / "red", 1, 0.0, path)
    red, green, blue = pixels(photo).mean(axis=(0, 1))
    assert red > 240
    assert max(green, blue) < 15


def test_a_film_that_ends_early_gives_what_it_had(tmp_path: Path, film: str) -> None:
    assert greys(capture(tmp_path / "mug", 10, 0.9, film)) == [0, 9, 18]


def test_no_camera_is_one_sentence_and_leaves_nothing(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(CaptureError, match=r"^camera 63 cannot be opened: is it connected"):
        capture(tmp_path / "mug", 3, 0.1, 63)
    with pytest.raises(CaptureError, match=r"none\.avi cannot be opened"):
        capture(tmp_path / "mug", 3, 0.1, str(tmp_path / "none.avi"))
    assert capfd.readouterr().err == ""
    assert not (tmp_path / "mug").exists()


def test_an_unfinished_burst_leaves_no_photo(tmp_path: Path, film: str, monkeypatch: pytest.MonkeyPatch) -> None:
    encode, done = cv2.imencode, []

    def interrupted(kind: str, frame: np.ndarray) -> tuple[bool, np.ndarray]:
        if done:
            [scratch] = (tmp_path / "mug").iterdir()
            assert [path.name for path in scratch.iterdir()] == ["000.png"]
            raise KeyboardInterrupt
        done.append(kind)
        return encode(kind, frame)

    monkeypatch.setattr(cv2, "imencode", interrupted)
    with pytest.raises(KeyboardInterrupt):
        capture(tmp_path / "mug", 3, 0.1, film)
    assert list((tmp_path / "mug").iterdir()) == []


@pytest.mark.parametrize("name", ["", "..", "../mug", "a/b", ".mug", "unknown"])
def test_a_name_that_is_no_class_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(ApiError) as refused:
        class_folder(tmp_path, name)
    assert (refused.value.status, refused.value.code) == (422, "bad_label")

"""The classes file: what it gives, and every refusal with its line."""

from __future__ import annotations

from pathlib import Path

import pytest
from PIL import Image

from settings import ROOT
from training.classes import ClassesError, name_fault, read_classes


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A data root with two folders of one photo each, an empty one, and one with only what systems leave there."""
    for name in ("mug", "cable", "empty", "litter"):
        (tmp_path / "captured" / name).mkdir(parents=True)
    for name in ("mug", "cable"):
        Image.new("RGB", (8, 8), "red").save(tmp_path / "captured" / name / "1.png")
    for name in (".DS_Store", "Thumbs.db"):
        (tmp_path / "captured" / "litter" / name).write_bytes(b"x")
    return tmp_path


def written(root: Path, text: str) -> Path:
    path = root / "classes.yaml"
    path.write_text(text, encoding="utf-8")
    return path


def test_the_three_sections_in_file_order(root: Path) -> None:
    text = "folders:\n  mug: captured/mug\ncifar10: [ship, cat]\ncifar100:\n  person: [woman, man]\n  seat: chair\n"
    classes = read_classes(written(root, text), root)
    assert classes.labels == ("mug", "ship", "cat", "person", "seat")
    assert classes.cifar10 == {"ship": "ship", "cat": "cat"}
    assert classes.cifar100 == {"woman": "person", "man": "person", "chair": "seat"}
    assert classes.folders == {"mug": root / "captured" / "mug"}


def test_folders_alone_are_enough(root: Path) -> None:
    classes = read_classes(written(root, "folders:\n  mug: captured/mug\n  Tasse ä: captured/cable\n"), root)
    assert classes.labels == ("mug", "Tasse ä")
    assert not classes.cifar10
    assert not classes.cifar100


def test_the_shipped_file_names_the_27_classes(tmp_path: Path) -> None:
    for name in ("headphone", "laptop", "scissors", "soccer_ball", "umbrella", "watch"):
        (tmp_path / "captured" / name).mkdir(parents=True)
        Image.new("RGB", (8, 8)).save(tmp_path / "captured" / name / "1.png")
    classes = read_classes(ROOT / "training" / "classes.yaml", tmp_path)
    assert len(classes.labels) == 27
    assert classes.labels[:10] == tuple(classes.cifar10)
    assert {fine for fine, label in classes.cifar100.items() if label == "person"} == {
        "baby",
        "boy",
        "girl",
        "man",
        "woman",
    }
    assert len(classes.cifar100) == 15
    assert classes.labels[-6:] == tuple(classes.folders)


GOOD = "cifar10: all\n"


@pytest.mark.parametrize(
    ("text", "line", "message"),
    [
        ("cifar10: [cat, dog]\nfolders:\n  cat: captured/mug\n", 3, "cat is there already, in line 1"),
        ("cifar10: [cat]\ncifar100:\n  Cat: lion\n", 3, "Cat is there already, in line 1"),
        ("cifar100:\n  cup: cup\n  cup: bowl\n", 3, "cup is there already, in line 2"),
        ("cifar10:\n- cat\n- cat\n", 3, "cat is there already, in line 2"),
        ("cifar10:\n- cat\n- lion\n", 3, "CIFAR-10 has no lion"),
        (GOOD + "cifar100:\n  bottle: botle\n", 3, "CIFAR-100 has no botle; is bottle meant?"),
        (GOOD + "cifar100:\n  person:\n  - man\n  - men\n", 5, "CIFAR-100 has no men"),
        (GOOD + "cifar100:\n  person: [man, boy]\n  child: boy\n", 4, "boy is part of person already, in line 3"),
        (GOOD + "cifar100:\n  person: [man, man]\n", 3, "man is part of person already"),
        (GOOD + "cifar100:\n  cup: cup\n  person: []\n", 4, "person is empty"),
        (GOOD + "cifar100:\n  person:\n  cup: cup\n", 3, "person is empty"),
        (GOOD + "cifar100:\n", 2, "cifar100 is empty"),
        (GOOD + "cifar100: [cup]\n", 2, "name: value"),
        (GOOD + "cifar100:\n  cup: {a: b}\n", 3, "a name is wanted"),
        (GOOD + "folders: {}\n", 2, "folders is empty"),
        (GOOD + "folders:\n  mug:\n", 3, "mug is empty"),
        ("\ncifar10: []\n", 2, "cifar10 is empty"),
        ("cifar10: cat\n", 1, "a list of names, or all"),
        (GOOD + "folders:\n  mug: captured/mugs\n", 3, "captured/mugs is no folder"),
        (GOOD + "folders:\n  mug: captured/empty\n", 3, "captured/empty has no photos"),
        (GOOD + "folders:\n  mug: captured/litter\n", 3, "captured/litter has no photos"),
        (GOOD + "folders:\n  mug: captured/mug\n  all: captured\n", 4, "all and mug (line 3) share the folder"),
        (GOOD + "folders:\n  mug: captured/mug\n  cup: captured/mug/../mug\n", 4, "share the folder"),
        (GOOD + "folders:\n  no: captured/mug\n", 3, "put it in quotes"),
        (GOOD + "folders:\n  ../mug: captured/mug\n", 3, "no class name"),
        (GOOD + "folders:\n  unknown: captured/mug\n", 3, "photos of no class"),
        (GOOD + "folders:\n  Something else: captured/mug\n", 3, "photos of no class"),
        (GOOD + "cifar20: all\n", 2, "unknown section cifar20"),
        ("cifar10: [cat, dog]\ncifar10: [ship]\n", 2, "a second section cifar10"),
        ("cifar10: [cat]\n", 1, "two or more"),
        ("- cat\n", 1, "name: value"),
        ("# nothing\n", 1, "names no class"),
        (GOOD + "cifar100: [cup\n", 3, "not YAML"),
        (GOOD + "\tcifar100:\n", 2, "not YAML"),
    ],
)
def test_a_fault_is_refused_with_its_line(root: Path, text: str, line: int, message: str) -> None:
    path = written(root, text)
    with pytest.raises(ClassesError) as raised:
        read_classes(path, root)
    assert str(raised.value).startswith(f"{path}, line {line}: ")
    assert message in str(raised.value)


def test_a_file_that_is_missing_or_no_text_is_named(root: Path) -> None:
    with pytest.raises(ClassesError, match=r"none\.yaml: No such file"):
        read_classes(root / "none.yaml", root)
    (root / "binary.yaml").write_bytes(b"\x00\xff\xfe\x00")
    with pytest.raises(ClassesError, match=r"binary\.yaml.*not YAML"):
        read_classes(root / "binary.yaml", root)


@pytest.mark.parametrize("name", ["mug", "soccer_ball", "Tasse groß", "2nd-mug", "x", "a" * 64])
def test_these_are_class_names(name: str) -> None:
    assert name_fault(name) is None


@pytest.mark.parametrize("name", ["", " mug", "mug ", ".mug", "a/b", "a\\b", "a\nb", "_x", "Unknown", "a" * 65])
def test_these_are_not(name: str) -> None:
    assert name_fault(name) is not None

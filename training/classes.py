"""The classes file: which classes the product has, and which photos each is made of."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from difflib import get_close_matches
from pathlib import Path

import yaml

from runners.class_names import name_fault
from training.readers import CIFAR10_LABELS, CIFAR100_LABELS, SourceError, folder_files

SECTIONS = ("cifar10", "cifar100", "folders")


class ClassesError(SourceError):
    """A classes file that cannot be used; the message names the file and the line at fault."""


@dataclass(frozen=True, slots=True)
class Classes:
    """``labels``: all classes in file order, their numbers in the network.

    ``cifar10`` and ``cifar100``: the set's own label -> class. ``folders``: class -> folder of its photos.
    """

    labels: tuple[str, ...]
    cifar10: Mapping[str, str]
    cifar100: Mapping[str, str]
    folders: Mapping[str, Path]


def read_classes(path: Path, data_root: Path) -> Classes:
    """Read and check the classes file ``path``; its folders are relative to ``data_root``.

    Raises:
        ClassesError: not YAML, an unknown section, a name that is no name, taken or unknown to its set, a fine label
            used twice, an empty class, a missing, empty or shared folder, or fewer than two classes.
    """
    draft = _Draft(path, data_root)
    try:
        document = yaml.compose(path.read_bytes(), Loader=yaml.SafeLoader)
    except OSError as error:
        raise ClassesError(f"{path}: {error.strerror}") from error
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = f"{path}, line {mark.line + 1}" if mark else str(path)
        raise ClassesError(f"{where}: not YAML ({getattr(error, 'problem', None) or error})") from error
    if document is None:
        raise ClassesError(f"{path}, line 1: the file names no class")
    seen: set[str] = set()
    for key, value in draft.pairs(document, "the file"):
        section = draft.text(key)
        if section not in SECTIONS:
            raise draft.error(key, f"unknown section {section}; there are {', '.join(SECTIONS)}")
        if section in seen:
            raise draft.error(key, f"a second section {section}")
        seen.add(section)
        {"cifar10": _cifar10, "cifar100": _cifar100, "folders": _folders}[section](draft, key, value)
    if len(draft.lines) < 2:
        raise draft.error(document, f"{len(draft.lines)} class in all; a classifier needs two or more")
    return Classes(tuple(draft.lines), draft.cifar10, draft.cifar100, draft.folders)


def _canonical(name: str) -> str:
    """Names of one canonical form would share a folder on some disks, and look alike on any page."""
    return unicodedata.normalize("NFKC", name).casefold()


@dataclass
class _Draft:
    """What is read so far; ``lines``: class -> the line that names it, ``owners``: fine label -> line."""

    path: Path
    data_root: Path
    lines: dict[str, int] = field(default_factory=dict)
    owners: dict[str, int] = field(default_factory=dict)
    cifar10: dict[str, str] = field(default_factory=dict)
    cifar100: dict[str, str] = field(default_factory=dict)
    folders: dict[str, Path] = field(default_factory=dict)

    def error(self, node: yaml.Node, message: str) -> ClassesError:
        return ClassesError(f"{self.path}, line {_line(node)}: {message}")

    def text(self, node: yaml.Node) -> str:
        if not isinstance(node, yaml.ScalarNode):
            raise self.error(node, "a name is wanted here")
        if node.tag != "tag:yaml.org,2002:str":  # YAML takes no, on and 42 for something else
            raise self.error(node, f"{node.value or 'nothing'} is no text; put it in quotes if it is a name")
        return str(node.value)

    def pairs(self, node: yaml.Node, what: str) -> Iterator[tuple[yaml.Node, yaml.Node]]:
        if not isinstance(node, yaml.MappingNode):
            raise self.error(node, f"{what} must be lines of the form name: value")
        return iter(node.value)

    def add_class(self, node: yaml.Node) -> str:
        """The class that ``node`` names, noted with its line."""
        name = self.text(node)
        if fault := name_fault(name):
            raise self.error(node, fault)
        for other, line in self.lines.items():
            if _canonical(other) == _canonical(name):
                raise self.error(node, f"the class {name} is there already, in line {line}")
        self.lines[name] = _line(node)
        return name

    def label_of(self, node: yaml.Node, labels: Sequence[str], title: str) -> str:
        """The label of set ``title`` that ``node`` names."""
        name = self.text(node)
        if name not in labels:
            near = get_close_matches(name, labels, n=1)
            raise self.error(node, f"{title} has no {name}" + (f"; is {near[0]} meant?" if near else ""))
        return name


def _line(node: yaml.Node) -> int:
    return int(node.start_mark.line) + 1


def _is_empty(node: yaml.Node) -> bool:
    return not node.value and (not isinstance(node, yaml.ScalarNode) or node.tag.endswith(":null"))


def _cifar10(draft: _Draft, key: yaml.Node, value: yaml.Node) -> None:
    if _is_empty(value):
        raise draft.error(key, "the section cifar10 is empty; leave it out, or write all")
    if isinstance(value, yaml.ScalarNode) and value.value == "all":
        nodes = [yaml.ScalarNode("tag:yaml.org,2002:str", name, value.start_mark) for name in CIFAR10_LABELS]
    elif isinstance(value, yaml.SequenceNode):
        nodes = value.value
    else:
        raise draft.error(value, "cifar10 is a list of names, or all")
    for node in nodes:
        label = draft.label_of(node, CIFAR10_LABELS, "CIFAR-10")
        draft.cifar10[label] = draft.add_class(node)


def _cifar100(draft: _Draft, key: yaml.Node, value: yaml.Node) -> None:
    if _is_empty(value):
        raise draft.error(key, "the section cifar100 is empty; leave it out")
    for name_node, parts in draft.pairs(value, "cifar100"):
        name = draft.add_class(name_node)
        if _is_empty(parts):
            raise draft.error(name_node, f"the class {name} is empty; name the CIFAR-100 labels that it is made of")
        for node in parts.value if isinstance(parts, yaml.SequenceNode) else [parts]:
            label = draft.label_of(node, CIFAR100_LABELS, "CIFAR-100")
            if label in draft.cifar100:
                owner, line = draft.cifar100[label], draft.owners[label]
                raise draft.error(node, f"CIFAR-100's {label} is part of {owner} already, in line {line}")
            draft.cifar100[label], draft.owners[label] = name, _line(node)


def _folders(draft: _Draft, key: yaml.Node, value: yaml.Node) -> None:
    if _is_empty(value):
        raise draft.error(key, "the section folders is empty; leave it out")
    for name_node, place in draft.pairs(value, "folders"):
        name = draft.add_class(name_node)
        if _is_empty(place):
            raise draft.error(name_node, f"the class {name} is empty; name the folder with its photos")
        folder = draft.data_root / draft.text(place)
        if not folder.is_dir():
            raise draft.error(place, f"{folder} is no folder; put photos of {name} there or take the line out")
        if next(folder_files(folder), None) is None:
            raise draft.error(place, f"{folder} has no photos in it")
        for other, taken in draft.folders.items():
            if folder.resolve().is_relative_to(taken.resolve()) or taken.resolve().is_relative_to(folder.resolve()):
                raise draft.error(place, f"{name} and {other} (line {draft.lines[other]}) share the folder {folder}")
        draft.folders[name] = folder

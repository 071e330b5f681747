"""What a source hands to the preparation of the dataset: one photo with its labels and its place."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Sample:
    """One photo on its way into the dataset.

    ``id``: stable and unique, such as `cifar10/train/00042` or `headphone/image_0001.jpg`. ``source``: `cifar10`,
    `cifar100` or `folder`. ``original``: the source's own label; ``label``: the product's class. ``official``: `train`,
    `test`, or empty where the source has no official split. ``group``: photos of one group never straddle splits.
    ``data``: the encoded image as it lies on disk, or, where not ``encoded``, 3,072 bytes of 32×32 RGB.
    """

    id: str
    source: str
    original: str
    label: str
    official: str
    group: str
    data: bytes
    encoded: bool = True

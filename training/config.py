"""One frozen configuration per training run, read from YAML."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from training.balance import Balance
from training.precision import Precision


class ConfigError(Exception):
    """A configuration file that cannot be used; the message names the file and the field."""


NetworkTag = Annotated[str, Field(pattern=r"^cifar_cnn:[a-z0-9-]+$")]

Depth = Literal[2, 3]


class TrainConfig(BaseModel):
    """What decides a network, given the data: everything that is not code."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str = Field(pattern=r"^[a-z0-9_-]{1,40}$")
    seed: int = 0
    start: NetworkTag | None = Field(None, description="tag of the network to train on, not a fresh one")
    teachers: tuple[NetworkTag, ...] = Field((), description="tags of the networks whose answers are learned, too")
    teacher_share: float = Field(0.7, gt=0, le=1, description="of a photo's label, what a teacher says of it")
    widths: tuple[int, int, int] = Field(description="channels of the three blocks")
    depths: tuple[Depth, Depth, Depth] = Field(
        (2, 2, 2), description="convolutions of the three blocks; three have a residual connection past the last two"
    )
    epochs: int = Field(ge=1, le=1000)
    batch_size: int = Field(ge=1, le=4096)
    optimizer: Literal["muon", "sgd"] = "muon"
    learning_rate: float = Field(gt=0, description="muon: of the first step; sgd: peak, per batch of 256")
    peak_rate: float | None = Field(
        None, gt=0, description="muon: the rate at which head and biases have theirs; learning_rate where none is said"
    )
    head_rate: float = Field(1.0, gt=0, description="muon: of the matrix at the end, in that of airbench94_muon")
    momentum: float = Field(0.9, ge=0, lt=1, description="sgd only")
    weight_decay: float = Field(5e-4, ge=0, description="sgd only: L2 on the kernels")
    warmup: float = Field(0.2, ge=0, lt=1, description="sgd only: share of the steps in which the rate rises")
    precision: Precision = "auto"
    mirror: bool = Field(True, description="what is served averages over each photo and its mirror image")
    whitening_eps: float = Field(1e-2, gt=0, description="added to the variances of the first layer's components")
    label_smoothing: float = Field(0.0, ge=0, lt=1)
    translate: int = Field(2, ge=0, le=8, description="random shift, pixels, reflected at the border")
    cutout: int = Field(0, ge=0, le=32, description="side of a random square that is blanked, pixels")
    noise: float = Field(0.0, ge=0, le=128, description="largest deviation of noise on half of the photos, levels")
    first_side: Literal[20, 24, 28, 32] = Field(32, description="side of the photos in the first epochs, pixels")
    full_side_from: float = Field(0.0, ge=0, lt=1, description="share of the epochs after which photos have 32 pixels")
    flip: bool = Field(True, description="alternating mirror: each image on every other epoch")
    balance: Balance = Field("plain", description="how small classes are made to count, see training.balance")
    least_images: int = Field(8192, ge=1, description="images of an epoch at least; a smaller dataset is repeated")
    balance_floor: float = Field(0.1, gt=0, le=1, description="share of the largest class that each class counts as")
    gate_trees: int = Field(200, ge=1)


def origin(config: TrainConfig) -> str:
    """What a network of ``config`` was before the fit, and whose answers it learned, as the end of a sentence."""
    start = f"trained on from {config.start}" if config.start else "trained from scratch"
    return start + (f", taught by {', '.join(config.teachers)}" if config.teachers else "")


def read_config(path: Path) -> TrainConfig:
    """Read and validate ``path``; raises `ConfigError`."""
    try:
        return TrainConfig.model_validate(yaml.safe_load(path.read_text()))
    except OSError as error:
        raise ConfigError(f"{path}: {error.strerror}") from error
    except yaml.YAMLError as error:
        raise ConfigError(f"{path}: not YAML ({str(error).splitlines()[0]})") from error
    except ValidationError as error:
        first = error.errors()[0]
        raise ConfigError(f"{path}: {'.'.join(map(str, first['loc'])) or 'file'}: {first['msg']}") from error

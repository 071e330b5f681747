"""The one settings object: read from the environment (prefix ``CIFAR_``) and ``.env``, validated, frozen, passed in."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, SecretStr, ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict, SettingsError

ROOT = Path(__file__).resolve().parent


class Settings(BaseSettings):
    """Everything an owner may choose. Each field is the environment variable ``CIFAR_<NAME>``."""

    model_config = SettingsConfigDict(
        env_prefix="CIFAR_", env_file=".env", env_ignore_empty=True, extra="ignore", frozen=True
    )

    var: Path = Field(
        default_factory=lambda: _working_directory() / "var",
        description="folder of all data, databases and stores; default var in the working directory",
    )
    data_dir: Path | None = Field(None, description="data root with the CIFAR sets; default var/data")

    engine: Literal["openvino", "tensorflow"] = Field("openvino", description="what runs the network when serving")
    runners: Literal["inprocess", "separate"] = Field(
        "inprocess", description="run network and gate in the API process, or as BentoML services of their own"
    )
    cnn_tag: str = Field("cifar_cnn:latest", description="BentoML tag of the network to serve; its gate follows")
    reload_seconds: float = Field(
        5.0, ge=0, description="how often to look for a new champion, which is then served; 0: never"
    )
    max_batch: int = Field(64, ge=1, le=1024, description="most images in one call of the network")
    max_queue: int = Field(512, ge=1, description="most images waiting for the network; more get 503")
    max_wait_seconds: float = Field(0.8, gt=0, description="longest wait for the network or a decoder; then 503")
    refuse_share: float = Field(
        0.05, gt=0, lt=0.5, description="share of good images that the gate may refuse (its conformal level)"
    )

    max_upload_bytes: int = Field(10_000_000, ge=1_000, description="largest photo, bytes")
    max_pixels: int = Field(50_000_000, ge=1_024, description="largest photo, pixels")
    max_batch_bytes: int = Field(50_000_000, ge=1_000, description="largest /classify_batch call, bytes")
    max_files: int = Field(256, ge=1, description="most photos in one /classify_batch call")
    max_held_bytes: int = Field(
        256_000_000, ge=1_000_000, description="memory for requests that are being answered; beyond it 503"
    )
    decode_seconds: float = Field(5.0, gt=0, description="longest decoding of one photo")

    api_tokens: tuple[Annotated[str, Field(min_length=1)], ...] = Field(
        (), description="JSON list of bearer tokens; none needed when empty"
    )
    owner_token: SecretStr | None = Field(
        None, min_length=1, description="bearer token of the owner, who may add photos; without any token everyone may"
    )
    allow_anonymous: bool = Field(False, description="answer other machines although no API token is set")
    rate_limit: float = Field(
        1000.0, ge=0, description="requests per second of one client (in bursts 10 s' worth); more get 429; 0: no limit"
    )

    page: bool = Field(True, description="mount the web page at /ui/")
    request_log: bool = Field(True, description="one JSON line per request on standard output")
    traces: Literal["off", "console", "otlp"] = Field(
        "off", description="OpenTelemetry traces: to standard output, or by OTLP to OTEL_EXPORTER_OTLP_ENDPOINT"
    )

    monitoring: bool = Field(True, description="profile live traffic")
    window_rows: int = Field(1000, ge=1, description="rows after which a window of the profile is flushed")
    window_seconds: float = Field(300.0, gt=0, description="seconds after which a window is flushed")
    false_alarm_rate: float = Field(
        0.01, ge=0.001, lt=0.5, description="false drift alarms per window on unchanged data"
    )
    min_rows: int = Field(30, ge=10, description="fewest rows on which drift is judged")
    drift_webhook: SecretStr | None = Field(
        None, description="URL that `monitoring drift` posts its verdict to when there is drift; nobody when not set"
    )

    database_url: str | None = Field(None, description="SQLAlchemy URL of the feedback store; default SQLite in var")
    image_store: str | None = Field(None, description="folder or fsspec URL of the kept photos; default var/images")
    keep_images: Literal["none", "feedback", "refused", "uncertain", "all"] = Field(
        "feedback", description="which photos are kept; each word keeps what the one before it keeps, and more"
    )
    uncertain_below: float = Field(
        0.6, gt=0, le=1, description="probability of the best guess below which a photo is uncertain"
    )
    retention_days: int = Field(365, ge=1, description="age at which `monitoring purge` deletes feedback and photos")
    feedback_minutes: float = Field(60.0, gt=0, description="how long after a prediction feedback on it is taken")
    pending_bytes: int = Field(64_000_000, ge=1_000_000, description="memory for photos that await feedback")

    mlflow_uri: str | None = Field(None, description="MLflow tracking URI; default SQLite in var")

    @property
    def data_root(self) -> Path:
        return self.data_dir or self.var / "data"

    @property
    def database(self) -> str:
        return self.database_url or f"sqlite:///{self.var / 'feedback.db'}"

    @property
    def images(self) -> str:
        return self.image_store or str(self.var / "images")

    @property
    def mlflow(self) -> str:
        return self.mlflow_uri or f"sqlite:///{self.var / 'mlflow.db'}"

    @property
    def mlflow_artifacts(self) -> Path:
        """Artifact folder of experiments that we create in the default store."""
        return self.var / "mlflow-artifacts"

    @property
    def bentoml_home(self) -> Path:
        return self.var / "bentoml"


class BadSettingError(Exception):
    """A setting that cannot be used; the message names the variable."""


def read_settings() -> Settings:
    """The settings of this process; raises `BadSettingError`, one sentence, for the first that is invalid."""
    try:
        return Settings()
    except ValidationError as error:
        first = error.errors()[0]
        name = str(first["loc"][0]).upper()
        raise BadSettingError(f"CIFAR_{name.removeprefix('CIFAR_')}: {first['msg']}") from None
    except SettingsError as error:  # a list that is not JSON
        raise BadSettingError(str(error)) from None


def _working_directory() -> Path:
    """Where the command was given: BentoML moves into a Bento to serve it, and what is kept must not lie there."""
    shell = Path(os.environ.get("PWD", ""))
    return shell if in_bento() and shell.is_absolute() and shell.is_dir() else Path.cwd()


def in_bento() -> bool:
    """Whether this code runs from a built Bento, whose models lie in whatever store it was found in."""
    return (ROOT.parent / "bento.yaml").is_file()


def configure_environment(settings: Settings) -> None:
    """Point the libraries at our folders and silence their telemetry; what the caller has set wins.

    Call it before using bentoml, gradio, mlflow or whylogs: each reads these variables at import or at first use.
    """
    variables = {
        "BENTOML_DO_NOT_TRACK": "True",
        "GRADIO_ANALYTICS_ENABLED": "False",
        "HF_HUB_DISABLE_TELEMETRY": "1",
        "MLFLOW_DISABLE_TELEMETRY": "true",
        "DO_NOT_TRACK": "true",
        "WHYLOGS_NO_ANALYTICS": "True",
        "RAY_USAGE_STATS_ENABLED": "0",
        "TF_CPP_MIN_LOG_LEVEL": "3",
        "TF_ENABLE_ONEDNN_OPTS": "1",  # off by default without AVX-512, where training is half as fast again with it
        "KERAS_BACKEND": "tensorflow",
    }
    for name, value in variables.items():
        os.environ.setdefault(name, value)
    if "BENTOML_HOME" not in os.environ and not in_bento():
        os.environ["BENTOML_HOME"] = str(settings.bentoml_home)
        if "bentoml" in sys.modules:
            _redirect_model_store(settings.bentoml_home)


def _redirect_model_store(home: Path) -> None:
    """`bentoml serve` has looked at BENTOML_HOME before it imports our service; its workers have not."""
    from bentoml._internal.configuration.containers import BentoMLContainer
    from bentoml._internal.models import ModelStore

    models = home / "models"
    models.mkdir(parents=True, exist_ok=True)
    BentoMLContainer.model_store.set(ModelStore(str(models)))

"""The Bento: composes network and gate, and serves the HTTP API and the page. Start it with `bentoml serve`."""

from __future__ import annotations

import gc

from settings import BadSettingError, Settings, configure_environment

SETTINGS = Settings()
configure_environment(SETTINGS)
# Imports make 300,000 objects that stay. To look through them for garbage as often as Python's own threshold of 700 new
# ones wants it is an eighth of the imports' time.
gc.set_threshold(10_000)

# The libraries below read the environment when they are imported. Every process of the server imports this module, one
# after the other, and only the worker needs more than this: it imports the rest itself.
import bentoml  # noqa: E402

from http_lifecycle import Door, Entrance, chosen_address, refuse_open_door  # noqa: E402
from runners.artifacts import gate_tag  # noqa: E402

SEPARATE = SETTINGS.runners == "separate"
if SEPARATE:
    from runners.cnn import CnnRunner
    from runners.forest import ForestRunner

NAMED = bool(SETTINGS.database_url or SETTINGS.image_store)
if NAMED:  # now, since the parent process of a Bento has its folder on the path for this import only
    from monitoring.feedback import FeedbackStore

door = Door()


@bentoml.service(
    name="cifar",
    workers=1,
    http={"host": "127.0.0.1", "port": 3000},
    # Ours in their place: theirs make a label of every path that is asked for, and a log line that is no JSON.
    metrics={"enabled": False},
    logging={"access": {"enabled": False}},
)
class Cifar:
    """One process that owns the queue, the API, the page and the monitoring; the runners inside it or beside it."""

    cnn_model = bentoml.models.BentoModel(SETTINGS.cnn_tag)
    forest_model = bentoml.models.BentoModel(gate_tag(SETTINGS.cnn_tag))
    if SEPARATE:
        cnn = bentoml.depends(CnnRunner)
        forest = bentoml.depends(ForestRunner)

    @bentoml.on_deployment
    @staticmethod
    def may_start() -> None:
        """In `bentoml serve` itself, before anything is bound: ends it with one sentence."""
        try:
            refuse_open_door(SETTINGS, [address] if (address := chosen_address()) else [])
            if NAMED:  # what nobody named is where it always is
                FeedbackStore.named_by(SETTINGS)
        except (BadSettingError, ValueError) as error:
            raise SystemExit(f"error: {error}") from None

    def __init__(self) -> None:
        from runners.opening import FirstPair

        first = FirstPair(SETTINGS, self.cnn_model, self.forest_model, here=not SEPARATE)
        from http_server import Server  # while the network makes its first call

        self.server = Server(SETTINGS, first, (lambda: (self.cnn, self.forest)) if SEPARATE else None)
        door.app = self.server.app
        Cifar.mount_asgi_app(self.server.app)  # type: ignore[attr-defined]  # its lifespan is ours

    @bentoml.on_shutdown
    def close(self) -> None:
        """Flush what is being profiled."""
        self.server.close()


Cifar.add_asgi_middleware(Entrance, to=door)  # type: ignore[attr-defined]

"""The database under the feedback store: durable SQLite or PostgreSQL, one writer at a time, schema and errors."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, NullPool, create_engine, event, func, make_url, select, text
from sqlalchemy.exc import (
    ArgumentError,
    DatabaseError,
    DataError,
    IntegrityError,
    InterfaceError,
    NoSuchModuleError,
    OperationalError,
)
from sqlalchemy.orm import Session

from runners.prediction import ApiError

log = logging.getLogger(__name__)

MIGRATIONS = Path(__file__).parent / "migrations"
BUSY_SECONDS = 15
"""How long a writer waits for the writers before it until the caller is told to come back."""

_ADVISORY_LOCK = 0x0C1FA210  # any number that nothing else in the PostgreSQL database locks
_MIGRATING = threading.Lock()  # alembic keeps its context in module globals


class Database:
    """Sessions on one SQLAlchemy URL.

    SQLite runs in WAL mode with ``synchronous=FULL`` and ``secure_delete``. A connection is opened per session, so that
    a file that was moved or deleted under a running service is noticed instead of written to unseen.
    """

    def __init__(self, url: str) -> None:
        """Nothing is opened yet. Raises ValueError for a URL that cannot work."""
        try:
            address = make_url(url)
            self._sqlite = address.get_backend_name() == "sqlite"
            self.engine = create_engine(
                address,
                poolclass=NullPool,
                hide_parameters=True,  # what people wrote stays out of logs and error messages
                connect_args={"timeout": BUSY_SECONDS} if self._sqlite else {},
            )
        except (ArgumentError, NoSuchModuleError, ModuleNotFoundError) as error:
            raise ValueError(f"The database URL of the feedback store is not usable: {error}") from None
        if self._sqlite:
            if address.database in (None, "", ":memory:"):
                raise ValueError("The feedback store needs a database file: SQLite in memory would lose it.")
            event.listen(self.engine, "connect", _prepare_sqlite)
            event.listen(self.engine, "begin", _begin_sqlite)
        self._writer = self.engine.execution_options(one_writer=True)

    @contextmanager
    def reading(self) -> Iterator[Session]:
        """A session for queries. Raises `ApiError` 503 ``feedback_unavailable``, as everything here does."""
        with unavailable_as_503(), Session(self.engine, expire_on_commit=False) as session:
            yield session

    @contextmanager
    def writing(self) -> Iterator[Session]:
        """A transaction that is the only writer among all processes; durable when the block has ended."""
        with unavailable_as_503(), Session(self._writer, expire_on_commit=False) as session, session.begin():
            self._lock(session.connection())
            yield session

    def migrate(self) -> None:
        """Create or upgrade the schema; of processes that start together one does the work, the others wait for it."""
        from alembic import command
        from alembic.config import Config

        config = Config()
        config.set_main_option("script_location", str(MIGRATIONS).replace("%", "%%"))
        with _MIGRATING, unavailable_as_503():
            if self._sqlite:
                Path(str(self.engine.url.database)).parent.mkdir(parents=True, exist_ok=True)
                self._turn_on_wal()
            with self._writer.begin() as connection:
                self._lock(connection)
                config.attributes["connection"] = connection
                command.upgrade(config, "head")

    def scrub(self) -> None:
        """Rewrite the storage, so that the bytes of deleted rows are gone from the database's files.

        Raises:
            ApiError: 503 ``feedback_busy`` when another process kept the write-ahead log from being emptied.
        """
        busy = False
        with unavailable_as_503(), self.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
            if self._sqlite:
                connection.execute(text("VACUUM"))
                busy = bool(connection.execute(text("PRAGMA wal_checkpoint(TRUNCATE)")).scalar_one())
            else:
                connection.execute(text("VACUUM FULL feedback"))
                connection.execute(text("VACUUM FULL kept_photo"))
        if busy:
            message = "The rows are deleted, but their bytes await the end of another read; run the purge again."
            raise ApiError(503, "feedback_busy", message, retry_after=5)

    def _lock(self, connection: Connection) -> None:
        """Be the only writer until the transaction ends; on SQLite ``BEGIN IMMEDIATE`` has seen to it."""
        if not self._sqlite:
            connection.execute(text(f"SET LOCAL lock_timeout = '{BUSY_SECONDS}s'"))
            connection.execute(select(func.pg_advisory_xact_lock(_ADVISORY_LOCK)))

    def _turn_on_wal(self) -> None:
        # SQLite does not wait for other connections here as it does elsewhere, so we do.
        deadline = time.monotonic() + BUSY_SECONDS
        while True:
            try:
                with self.engine.connect() as connection:
                    connection.execute(text("PRAGMA journal_mode=WAL"))
                return
            except OperationalError as error:
                if "locked" not in str(error.orig) or time.monotonic() > deadline:
                    raise
            time.sleep(0.05)


@contextmanager
def unavailable_as_503() -> Iterator[None]:
    """Turn failures of database and disk into one `ApiError`; faults of our own statements stay what they are."""
    try:
        yield
    except (IntegrityError, DataError):
        raise
    except (DatabaseError, InterfaceError, OSError) as error:
        log.error("feedback store: %s", getattr(error, "orig", None) or error)
        message = "Feedback cannot be stored or read right now; please try again."
        raise ApiError(503, "feedback_unavailable", message, retry_after=5) from error


def _prepare_sqlite(connection: Any, _record: object) -> None:
    connection.isolation_level = None  # Python's own BEGIN comes too late and never as IMMEDIATE
    connection.execute("PRAGMA synchronous=FULL")
    connection.execute("PRAGMA secure_delete=ON")


def _begin_sqlite(connection: Connection) -> None:
    if connection.get_execution_options().get("one_writer"):
        connection.exec_driver_sql("BEGIN IMMEDIATE")

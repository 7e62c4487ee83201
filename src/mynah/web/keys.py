"""API keys: who may call, and as what. Reads and writes the table ``api_keys`` of ``state.db``.

A key is 192 random bits behind a prefix. Only its SHA-256 is kept: without a guessable secret, a
slow hash would cost every request and protect nothing.
"""

import hashlib
import hmac
import secrets
from collections.abc import Generator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal, cast

from sqlalchemy import LargeBinary, String, create_engine, select
from sqlalchemy.exc import DatabaseError
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column

from mynah.errors import MachineError, machine_errors

__all__ = ["KEY_PREFIX", "KeyStore", "Scope"]

Scope = Literal["admin", "api"]
"""``api`` may ask and search; ``admin`` may also change campaigns."""

KEY_PREFIX = "mk_"
"""Begins every key, so that leaked ones can be searched for."""

BUSY_TIMEOUT_S = 10


class _Tables(DeclarativeBase):
    """The tables of this file alone; other rooms keep theirs in the same database."""


class _KeyRow(_Tables):
    __tablename__ = "api_keys"

    sha256: Mapped[bytes] = mapped_column(LargeBinary(32), primary_key=True)
    scope: Mapped[str] = mapped_column(String(16))
    created_at: Mapped[datetime]


class KeyStore:
    """The keys of a workspace. Methods are thread-safe."""

    def __init__(self, database: Path) -> None:
        """Open ``state.db``, making file and table where they are missing.

        Raises:
            MachineError: It cannot be read or written.
        """
        self._database = database
        with machine_errors(database):
            database.parent.mkdir(parents=True, exist_ok=True)
        self._engine = create_engine(
            f"sqlite:///{database}", connect_args={"timeout": BUSY_TIMEOUT_S}
        )
        with self._session() as session:
            _Tables.metadata.create_all(session.connection())

    def create(self, scope: Scope = "admin") -> str:
        """Make a key and return it; this is the only time that it can be seen."""
        key = KEY_PREFIX + secrets.token_urlsafe(24)
        with self._session() as session:
            session.add(_KeyRow(sha256=_digest(key), scope=scope, created_at=datetime.now(UTC)))
        return key

    def check(self, key: str) -> Scope | None:
        """Return what ``key`` may do, or ``None`` for a key that is not ours.

        Looks at every key, equal or not, in constant time each.
        """
        digest = _digest(key)
        found: Scope | None = None
        with self._session() as session:
            for row in session.scalars(select(_KeyRow)):
                if hmac.compare_digest(row.sha256, digest):
                    found = cast("Scope", row.scope)
        return found

    def has_any(self, scope: Scope = "admin") -> bool:
        """Whether a key of this scope was ever made."""
        with self._session() as session:
            return session.scalar(select(_KeyRow.scope).where(_KeyRow.scope == scope)) is not None

    def close(self) -> None:
        """Give back the database's connections."""
        self._engine.dispose()

    @contextmanager
    def _session(self) -> Generator[Session]:
        """One transaction."""
        try:
            with Session(self._engine) as session, session.begin():
                yield session
        except DatabaseError as error:
            raise MachineError(
                f"the keys in {self._database} cannot be read or written: {error.orig}",
                hint="see that the file is whole and no other process holds it, then try again",
            ) from error


def _digest(key: str) -> bytes:
    return hashlib.sha256(key.encode("utf-8", "surrogatepass")).digest()

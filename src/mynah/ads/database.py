"""Opens the database and says in one line what is wrong with it. Reads and writes ``state.db``.

SQLite in WAL mode: readers never wait, writers wait for one another up to ``_BUSY_TIMEOUT_S``.
"""

import sqlite3
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Engine, create_engine, event, select
from sqlalchemy.exc import DatabaseError
from sqlalchemy.orm import Session

from mynah.ads.tables import KeywordRow, SchemaRow, Tables
from mynah.errors import DataError, MachineError, MynahError, machine_errors
from mynah.search import ANALYSIS_VERSION, analyse

__all__ = ["SCHEMA_VERSION", "Database", "first_term"]

SCHEMA_VERSION = 1
"""Version of the tables; a database with another one is refused."""

_BUSY_TIMEOUT_S = 10


class Database:
    """One SQLite file. Methods are thread-safe; other processes may use the file meanwhile."""

    def __init__(self, path: Path) -> None:
        """Open ``path``, making the file and the tables where they are missing.

        Raises:
            DataError: It is no database, is damaged, or has tables of another version.
            MachineError: It may not be written, or another process holds it too long.
        """
        self.path = path
        with machine_errors(path):
            path.parent.mkdir(parents=True, exist_ok=True)
        self._engine = _make_engine(path)
        with self.writing() as session:
            Tables.metadata.create_all(session.connection())
            _check_version(session, path)

    @contextmanager
    def reading(self) -> Generator[Session]:
        """A consistent view that never waits for writers."""
        with self._errors(), Session(self._engine) as session:
            yield session

    @contextmanager
    def writing(self) -> Generator[Session]:
        """A transaction that sees and changes the newest state, or nothing at all."""
        # IMMEDIATE takes the write lock before the first read: what was read stays true.
        engine = self._engine.execution_options(sqlite_begin="BEGIN IMMEDIATE")
        with self._errors(), Session(engine, expire_on_commit=False) as session, session.begin():
            yield session

    def close(self) -> None:
        """Give back the connections."""
        self._engine.dispose()

    @contextmanager
    def _errors(self) -> Generator[None]:
        try:
            yield
        except DatabaseError as error:
            raise _explain(self.path, error) from error


def _check_version(session: Session, path: Path) -> None:
    row = session.scalar(select(SchemaRow))
    if row is None:
        session.add(SchemaRow(version=SCHEMA_VERSION, analysis_version=ANALYSIS_VERSION))
    elif row.version != SCHEMA_VERSION:
        raise DataError(
            f"{path} has ads tables of version {row.version}, this mynah reads version "
            f"{SCHEMA_VERSION}",
            hint="use the mynah that wrote it, or move the file aside to begin anew",
        )
    elif row.analysis_version != ANALYSIS_VERSION:
        for keyword in session.scalars(select(KeywordRow)):
            keyword.first_term = first_term(keyword.keyword)
        row.analysis_version = ANALYSIS_VERSION


def first_term(keyword: str) -> str:
    """Return the term that a keyword is looked up by."""
    return analyse(keyword)[0]


def _make_engine(path: Path) -> Engine:
    engine = create_engine(f"sqlite:///{path}", connect_args={"timeout": _BUSY_TIMEOUT_S})

    @event.listens_for(engine, "connect")
    def _set_up(connection: Any, _record: object) -> None:  # pyright: ignore[reportUnusedFunction]
        connection.isolation_level = None  # the driver's own BEGIN comes too late; see below
        for pragma in ("journal_mode = WAL", "synchronous = NORMAL", "foreign_keys = ON"):
            connection.execute(f"PRAGMA {pragma}")

    @event.listens_for(engine, "begin")
    def _begin(connection: Connection) -> None:  # pyright: ignore[reportUnusedFunction]
        begin = connection.get_execution_options().get("sqlite_begin", "BEGIN")
        connection.exec_driver_sql(begin)

    return engine


def _explain(path: Path, error: DatabaseError) -> MynahError:
    """Say what SQLite means."""
    cause = error.orig
    code = getattr(cause, "sqlite_errorcode", 0) & 0xFF
    if code in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
        return MachineError(
            f"{path} has been locked by another process for {_BUSY_TIMEOUT_S} s",
            hint="end the process that holds it, and try again",
        )
    if code in (sqlite3.SQLITE_READONLY, sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_PERM):
        return MachineError(
            f"{path} cannot be written: {cause}",
            hint="choose a workspace folder that you may write to",
        )
    if code == sqlite3.SQLITE_FULL:
        return MachineError(
            f"the disk is full: {path} cannot be written",
            hint="free some space and try again; what was recorded is kept",
        )
    if code == sqlite3.SQLITE_IOERR:  # which is also what a full disk looks like at first
        return MachineError(
            f"{path} cannot be read or written: {cause}",
            hint="see that the disk is whole and has space left, and try again",
        )
    if code in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB):
        return DataError(
            f"{path} is no SQLite database, or is damaged: {cause}",
            hint="restore it from a copy, or move it aside to begin with no campaigns",
        )
    return DataError(
        f"{path} does not hold the tables of ads as expected: {cause}",
        hint="move it aside to begin with no campaigns",
    )

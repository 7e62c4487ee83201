"""A database that cannot be used says so in one clear error."""

import os
import sqlite3
from collections.abc import Callable
from pathlib import Path

import pytest
from sqlalchemy import update
from sqlalchemy.exc import IntegrityError

from mynah.ads import AdServer, AdStore, Campaign, database
from mynah.ads.tables import CampaignRow, ImpressionRow, KeywordRow, SchemaRow
from mynah.errors import DataError, MachineError

Add = Callable[..., Campaign]


def test_settings_of_the_connection(store: AdStore) -> None:
    with store.database.writing() as session:
        raw = session.connection().exec_driver_sql
        assert raw("PRAGMA journal_mode").scalar() == "wal"
        assert raw("PRAGMA foreign_keys").scalar() == 1
        assert raw("PRAGMA busy_timeout").scalar() == 10_000


def test_campaigns_outlive_the_store(store: AdStore, add: Add) -> None:
    campaign = add()
    store.close()
    again = AdStore(store.database.path)
    assert again.campaigns() == [campaign]
    again.close()


def test_a_file_that_is_no_database_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "state.db"
    path.write_bytes(b"this is no database, it is a note " * 100)
    with pytest.raises(DataError, match=r"state\.db is no SQLite database") as caught:
        AdStore(path)
    assert "move it aside" in caught.value.hint
    assert path.read_bytes().startswith(b"this is no")


def test_a_damaged_database_is_refused(store: AdStore, add: Add) -> None:
    for _ in range(50):
        add()
    store.close()
    path = store.database.path
    size = path.stat().st_size
    with path.open("r+b") as stream:
        stream.seek(4096)
        stream.write(os.urandom(size - 4096))
    with pytest.raises(DataError, match="damaged"):
        AdStore(path).campaigns()


def test_another_version_of_the_tables_is_refused(store: AdStore) -> None:
    with store.database.writing() as session:
        session.execute(update(SchemaRow).values(version=99))
    with pytest.raises(DataError, match="version 99, this mynah reads version 1"):
        AdStore(store.database.path)


def test_foreign_tables_of_the_same_name_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "state.db"
    with sqlite3.connect(path) as connection:
        connection.execute("CREATE TABLE ads_schema (other TEXT)")
    connection.close()
    with pytest.raises(DataError, match="does not hold the tables of ads"):
        AdStore(path)


def test_other_rooms_share_the_file(tmp_path: Path) -> None:
    path = tmp_path / "state.db"
    with sqlite3.connect(path) as connection:
        connection.execute("CREATE TABLE keys (id TEXT)")
        connection.execute("PRAGMA user_version = 3")
    connection.close()
    store = AdStore(path)
    assert store.campaigns() == []
    store.close()


def test_a_lock_held_too_long_is_one_error(store: AdStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(database, "_BUSY_TIMEOUT_S", 0.1)
    holder = sqlite3.connect(store.database.path, isolation_level=None)
    holder.execute("BEGIN IMMEDIATE")
    with pytest.raises(MachineError, match="locked by another process"):
        AdStore(store.database.path)
    assert store.campaigns() == []
    holder.execute("ROLLBACK")
    holder.close()


def test_a_folder_in_its_place_is_one_error(tmp_path: Path) -> None:
    (tmp_path / "state.db").mkdir()
    with pytest.raises(MachineError, match="cannot be written") as caught:
        AdStore(tmp_path / "state.db")
    assert "workspace folder" in caught.value.hint


def test_a_database_that_may_not_be_written_is_one_error(store: AdStore, add: Add) -> None:
    add()
    with store.database.reading() as session:
        # As SQLite sees a file that it may only read; root may write any file.
        session.connection().exec_driver_sql("PRAGMA query_only = ON")
    with pytest.raises(MachineError, match="cannot be written"):
        add()


def test_the_database_itself_refuses_what_cannot_be(store: AdStore, add: Add) -> None:
    campaign = add()
    overspent = update(CampaignRow).values(spent_micros=campaign.budget_micros + 1)
    with pytest.raises(DataError) as caught, store.database.writing() as session:
        session.execute(overspent)
    assert isinstance(caught.value.__cause__, IntegrityError)
    with pytest.raises(DataError), store.database.writing() as session:
        session.add(
            ImpressionRow(
                id="x", campaign_id=99, placement="chat", reason="", price_micros=1,
                created_at=campaign.created_at,
            )
        )  # fmt: skip
    assert store.campaigns() == [campaign]


def test_keywords_are_found_again_after_the_analysis_changed(store: AdStore, add: Add) -> None:
    add()
    with store.database.writing() as session:
        session.execute(update(KeywordRow).values(first_term="as it was before"))
        session.execute(update(SchemaRow).values(analysis_version=0))
    assert AdServer(store).select("jobs", placement="search") is None
    again = AdStore(store.database.path)
    assert AdServer(again).select("jobs", placement="search") is not None
    again.close()

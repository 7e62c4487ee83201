import sqlite3
import threading
from pathlib import Path

import pytest

from mynah.errors import MachineError
from mynah.web.keys import KEY_PREFIX, KeyStore


@pytest.fixture
def store(tmp_path: Path):
    opened = KeyStore(tmp_path / "state.db")
    yield opened
    opened.close()


def test_a_key_opens_with_its_scope(store: KeyStore):
    admin, api = store.create("admin"), store.create("api")
    assert (store.check(admin), store.check(api)) == ("admin", "api")
    assert admin.startswith(KEY_PREFIX)
    assert len(admin) == len(KEY_PREFIX) + 32
    assert admin != api


@pytest.mark.parametrize("key", ["", "mk_", "mk_" + "A" * 32, "\ud800", "x" * 100_000])
def test_another_key_does_not_open(store: KeyStore, key: str):
    store.create("admin")
    assert store.check(key) is None


def test_has_any_knows_scopes_apart(store: KeyStore):
    assert not store.has_any("admin")
    store.create("api")
    assert (store.has_any("api"), store.has_any("admin")) == (True, False)


def test_keys_outlive_the_process_and_are_not_in_the_file(store: KeyStore, tmp_path: Path):
    key = store.create("api")
    again = KeyStore(tmp_path / "state.db")
    assert again.check(key) == "api"
    again.close()
    content = b"".join(path.read_bytes() for path in tmp_path.iterdir())
    assert key.encode() not in content
    assert key.removeprefix(KEY_PREFIX).encode() not in content


def test_threads_may_share_a_store(store: KeyStore):
    keys: list[str] = []
    threads = [threading.Thread(target=lambda: keys.append(store.create("api"))) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(set(keys)) == 8
    assert {store.check(key) for key in keys} == {"api"}


def test_a_file_that_is_no_database_is_named(tmp_path: Path):
    (tmp_path / "state.db").write_bytes(b"not a database, certainly not" * 100)
    with pytest.raises(MachineError, match=r"state\.db"):
        KeyStore(tmp_path / "state.db")


def test_other_tables_of_the_file_are_left_alone(tmp_path: Path):
    with sqlite3.connect(tmp_path / "state.db") as connection:
        connection.execute("CREATE TABLE campaigns (id INTEGER)")
    connection.close()
    store = KeyStore(tmp_path / "state.db")
    store.create("api")
    store.close()
    connection = sqlite3.connect(tmp_path / "state.db")
    names = {row[0] for row in connection.execute("SELECT name FROM sqlite_master")}
    connection.close()
    assert {"campaigns", "api_keys"} <= names

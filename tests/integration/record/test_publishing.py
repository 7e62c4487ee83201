"""A published record is a log that verifies, a page that escapes, and only ever grows."""

import shutil
from pathlib import Path

import pytest
from tests.fakes.record_history import fake_digest, write_history

from mynah.errors import ConfigError, RecordError
from mynah.record import publishing
from mynah.record.identity import Identity
from mynah.record.log import LogReader
from mynah.record.notes import VerifierKey
from mynah.record.publishing import publish
from mynah.record.record import Record
from mynah.record.statements import PostForgotten


@pytest.fixture
def record(tmp_path: Path) -> Record:
    """Sixteen leaves of heron.example, the last weeks of a pause ahead."""
    identity = Identity.open(tmp_path / "keys").rename("heron.example")
    record = Record.open(tmp_path / "birds", identity=identity)
    write_history(record)
    return record


def forget(record: Record, num_leaves: int) -> None:
    """Add leaves that no run needs."""
    bodies = [
        PostForgotten(posts=fake_digest(str(n)), num_posts=n, snapshot="")
        for n in range(num_leaves)
    ]
    record.write_many(bodies)


def files_of(folder: Path) -> dict[str, bytes]:
    """Every file by its path."""
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def test_a_stranger_reads_the_published_log_with_its_vkey_alone(
    record: Record, tmp_path: Path
) -> None:
    """Tiles, bundles, tree head and proofs are those of the workspace's log."""
    done = publish(record, tmp_path / "site")
    key = VerifierKey.parse((tmp_path / "site" / "vkey").read_text())
    log = LogReader.open(tmp_path / "site", key)
    assert list(log.leaves()) == list(record.log.leaves())
    assert (done.size, done.num_new_leaves) == (16, 16)
    assert done.proofs == (0, 3, 4, 6, 8, 9)
    assert (tmp_path / "site/proofs/8.tlog-proof").read_bytes() == record.proof(8)
    assert (tmp_path / "site/proofs/8.json").read_bytes() == record.log.leaf(8)
    assert (tmp_path / "site/party.pem").read_bytes() == record.identity.public_pem
    assert (tmp_path / "site/model-signing.pem").read_bytes() == record.identity.model_public_pem


def test_publishing_again_only_adds_and_old_heads_stay_checkable(
    record: Record, tmp_path: Path
) -> None:
    """A partial tile goes only once the full one, which holds it, is there."""
    site = tmp_path / "site"
    publish(record, site)
    before = files_of(site)
    forget(record, 10)
    done = publish(record, site)
    assert (done.size, done.num_new_leaves) == (26, 10)
    after = files_of(site)
    assert {p for p in before if p.startswith("tile/")} <= after.keys()
    assert all(after[p] == before[p] for p in before if p.startswith(("tile/", "vkey")))
    forget(record, 300)
    publish(record, site)
    names = {p for p in files_of(site) if p.startswith("tile/")}
    assert names == {
        *("tile/0/000", "tile/0/001.p/70", "tile/1/000.p/1"),
        *("tile/entries/000", "tile/entries/001.p/70"),
    }
    assert list(LogReader.open(site, record.key).leaves()) == list(record.log.leaves())
    assert publish(record, site).num_new_bytes == 0


def test_the_tree_head_comes_after_its_tiles(
    record: Record, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A publisher that dies leaves the log as it was; the next one goes on."""
    site = tmp_path / "site"
    publish(record, site)
    forget(record, 300)
    real = publishing.replace_file

    def dying(path: Path, content: bytes) -> None:
        if path.name == "checkpoint":
            raise KeyboardInterrupt
        real(path, content)

    monkeypatch.setattr(publishing, "replace_file", dying)
    with pytest.raises(KeyboardInterrupt):
        publish(record, site)
    monkeypatch.setattr(publishing, "replace_file", real)
    assert LogReader.open(site, record.key).head().size == 16
    assert len(list(LogReader.open(site, record.key).leaves())) == 16
    publish(record, site)
    assert len(list(LogReader.open(site, record.key).leaves())) == 316


def test_a_first_publisher_that_was_killed_does_not_block_the_next(
    record: Record, tmp_path: Path
) -> None:
    """Half a file, or keys without a log, is ours to finish."""
    site = tmp_path / "site"
    site.mkdir()
    (site / ".vkey.4711.writing").write_text("heron")
    publish(record, site)
    (site / "checkpoint").unlink()
    (site / "tile/0/.000.4711.writing").write_bytes(b"half")
    assert publish(record, site).num_new_leaves == 16
    assert not list(site.rglob("*.writing"))


def test_a_log_that_was_published_further_or_otherwise_is_refused(
    record: Record, tmp_path: Path
) -> None:
    """What strangers have seen is never replaced by a shorter or another tree."""
    other = Record.open(tmp_path / "other", identity=record.identity)
    write_history(other)
    publish(other, tmp_path / "site")
    with pytest.raises(RecordError, match="holds another record"):
        publish(record, tmp_path / "site")
    for name in ("keys", "birds"):
        shutil.copytree(tmp_path / name, tmp_path / "backup" / name)
    forget(record, 3)
    publish(record, tmp_path / "own")
    seen = files_of(tmp_path / "own")
    keys = Identity.open(tmp_path / "backup/keys")
    copy = Record.open(tmp_path / "backup/birds", identity=keys)
    with pytest.raises(RecordError, match=r"19 leaves of .* are published, the log has 16"):
        publish(copy, tmp_path / "own")
    forget(copy, 5)
    copy.write(PostForgotten(posts=fake_digest("else"), num_posts=1, snapshot=""))
    with pytest.raises(RecordError, match="a fork"):
        publish(copy, tmp_path / "own")
    assert files_of(tmp_path / "own") == seen


def test_foreign_folders_and_the_record_itself_are_left_alone(
    record: Record, tmp_path: Path
) -> None:
    """Nobody's web site is overwritten, and the log does not publish into itself."""
    site = tmp_path / "www"
    site.mkdir()
    (site / "index.html").write_text("mine")
    with pytest.raises(ConfigError, match="not empty"):
        publish(record, site)
    assert files_of(site) == {"index.html": b"mine"}
    for place in (record.folder / "log", record.folder, record.folder.parent):
        with pytest.raises(ConfigError, match="record"):
            publish(record, place)
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError, match="is a file"):
        publish(record, tmp_path / "file")


def test_the_page_says_what_stands_and_escapes_what_others_wrote(
    record: Record, tmp_path: Path
) -> None:
    """A pause in force, compute, limits, the way to check, and no markup out of a leaf."""
    (record.folder / "policy").write_text("quorum none\n")
    publish(record, tmp_path / "site", base_url="https://heron.example/record/")
    page = (tmp_path / "site/index.html").read_text()
    assert "A pause is in force" in page
    assert "No training above 2.1e21 FLOP" in page
    assert "until &lt;both&gt; are audited" in page
    assert "<script" not in page
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in page
    assert "What this can't prove" in page
    assert f'mynah record verify https://heron.example/record --key "{record.key}"' in page
    assert '<a href="policy">' in page
    assert '<a href="proofs/8.tlog-proof">8</a>' in page
    assert "first: 1.6e21 FLOP" in page
    assert '<li id="leaf-15" value="15">' in page


def test_an_empty_record_can_be_published(tmp_path: Path) -> None:
    """The first thing that a stranger may see is that nothing is there."""
    record = Record.open(tmp_path / "w", identity=Identity.open(tmp_path / "keys"))
    done = publish(record, tmp_path / "site")
    assert (done.size, done.proofs) == (0, ())
    page = (tmp_path / "site/index.html").read_text()
    assert "Nothing is written yet." in page
    assert "No run is declared yet." in page
    forget(record, 2)
    assert publish(record, tmp_path / "site").num_new_leaves == 2


def test_of_a_long_log_the_page_shows_the_end(record: Record, tmp_path: Path) -> None:
    """The rest is in the log; leaves of note keep their proofs however old they are."""
    forget(record, 600)
    done = publish(record, tmp_path / "site")
    page = (tmp_path / "site/index.html").read_text()
    assert "The last 200 of 616 leaves" in page
    assert page.count('<li id="leaf-') == 200
    assert done.proofs == (0, 3, 4, 6, 8, 9)
    assert 'href="#leaf-8"' not in page

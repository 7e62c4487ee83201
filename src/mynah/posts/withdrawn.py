"""Posts that a newer export says were deleted or made private, while the store had them.

``posts/.before`` names the snapshot that was the latest before exports were added, until whoever
added them has taken back what was withdrawn: a kill in between is made up for by the next one.
"""

from pathlib import Path

import polars as pl

from mynah.posts.deletions import Deletions
from mynah.posts.post import POSTS_KIND
from mynah.posts.snapshots import PRIVATE_IDS
from mynah.posts.store import load_columns
from mynah.workspace import Artifact, latest_artifact, read_artifact, replace_file

__all__ = ["note_before", "settle_withdrawn", "withdrawn_posts"]

_BEFORE = ".before"


def note_before(store: Path, latest: Artifact | None) -> None:
    """Remember which snapshot comes before what is added now."""
    if latest is not None and not (store / _BEFORE).is_file():
        replace_file(store / _BEFORE, latest.snapshot.encode())


def withdrawn_posts(store: Path) -> list[str]:
    """Return the ids of posts that were here before and that the networks have withdrawn since.

    Their words may still be in older snapshots, in corpora, in indexes.
    """
    try:
        name = (store / _BEFORE).read_text()
    except FileNotFoundError:
        return []
    before = read_artifact(store / name, kind=POSTS_KIND)
    after = latest_artifact(store, kind=POSTS_KIND)
    if before is None or after is None:
        return []
    private = pl.read_ipc(after.folder / PRIVATE_IDS)["id"]
    withdrawn = pl.concat([Deletions.load(store).listed["id"], private]).unique()
    was = load_columns(before, ["id"])["id"]
    gone = was.filter(was.is_in(withdrawn.implode()))
    if not gone.len():
        return []
    has = load_columns(after, ["id"])["id"]
    return gone.filter(~gone.is_in(has.implode())).to_list()


def settle_withdrawn(store: Path) -> None:
    """Say that what was withdrawn is taken back everywhere."""
    (store / _BEFORE).unlink(missing_ok=True)

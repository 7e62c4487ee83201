"""Adding exports to the latest snapshot: new posts, newer counts and edits, deletions.

Reads exports and the latest snapshot; writes the next one. Shards that nothing falls into are
shared between the two.
"""

from collections.abc import Sequence
from pathlib import Path

from mynah.errors import DataError
from mynah.posts.deletions import Deletions
from mynah.posts.gathering import Gathered, gather_posts, same_reading, source_facts, without_copies
from mynah.posts.post import POSTS_KIND
from mynah.posts.reader import ReadOptions
from mynah.posts.snapshots import one_writer, write_snapshot
from mynah.posts.sources import Source, opened_sources
from mynah.posts.withdrawn import note_before
from mynah.progress import NO_PROGRESS, Progress
from mynah.workspace import Artifact, latest_artifact

__all__ = ["add_posts"]

_DEFAULT_OPTIONS = ReadOptions()


def add_posts(
    paths: Sequence[Path],
    store: Path,
    *,
    options: ReadOptions = _DEFAULT_OPTIONS,
    progress: Progress = NO_PROGRESS,
) -> Artifact:
    """Merge exports into the latest snapshot, and return the one that is the latest then.

    The order in which exports come decides nothing: of two versions of a post the newer stays.
    Exports that are in the store already are not read again. Afterwards ask ``withdrawn_posts``
    what the networks have deleted, take that back, and ``settle_withdrawn``.

    Args:
        paths: Files and folders, in any order.
        store: The posts' folder of the workspace.
        options: Network, format and columns, where the guess is wrong.
        progress: Told the posts read, then the posts merged.

    Raises:
        ConfigError: Another process is changing this store.
        DataError: A path is missing, is no export, no post in it can be read, or the store is of
            an older version.
    """
    with opened_sources(paths, options=options) as given, one_writer(store) as spool:
        latest = _latest(store)
        sources = _new_sources(without_copies(given), latest, options)
        if sources:
            note_before(store, latest)
            gathered = gather_posts(sources, spool, options=options, progress=progress)
            gathered.is_addition = True
        else:
            gathered = Gathered.empty(spool)
        deletions = Deletions.load(store).with_deleted(gathered.deleted)
        if gathered.deleted:
            deletions.save(store)
        return write_snapshot(
            store, base=latest, gathered=gathered, deletions=deletions, progress=progress
        )


def _new_sources(
    sources: Sequence[Source], latest: Artifact | None, options: ReadOptions
) -> list[Source]:
    if latest is None:
        return list(sources)
    known = {same_reading(f): f["reader_version"] for f in latest.inputs["sources"]}

    def is_known(source: Source) -> bool:
        facts = source_facts(source, options)
        return known.get(same_reading(facts)) == facts["reader_version"]

    return [source for source in sources if not is_known(source)]


def _latest(store: Path) -> Artifact | None:
    """Return what to add to; refuse a store that would silently begin anew."""
    latest = latest_artifact(store, kind=POSTS_KIND)
    if latest is None and (store / "latest").is_file():
        raise DataError(
            f"the posts in {store} are damaged or were stored by another version of mynah "
            f"(expected {POSTS_KIND})",
            hint=f"read their exports again: mynah up {store.parent} --posts PATH",
        )
    return latest

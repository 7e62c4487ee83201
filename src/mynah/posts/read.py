"""Reading exports into a snapshot of the post store: of exactly these exports.

Reads the files a person names; writes ``posts/<snapshot>/`` and, where an export says that posts
were deleted, the store's list of deletions.
"""

from collections.abc import Sequence
from pathlib import Path

from mynah.posts.deletions import Deletions
from mynah.posts.gathering import gather_posts, source_facts, without_copies
from mynah.posts.reader import ReadOptions
from mynah.posts.snapshots import one_writer, snapshot_inputs, use_snapshot, write_snapshot
from mynah.posts.sources import opened_sources
from mynah.progress import NO_PROGRESS, Progress
from mynah.workspace import Artifact

__all__ = ["read_posts"]

_DEFAULT_OPTIONS = ReadOptions()


def read_posts(
    paths: Sequence[Path],
    store: Path,
    *,
    options: ReadOptions = _DEFAULT_OPTIONS,
    progress: Progress = NO_PROGRESS,
) -> Artifact:
    """Read exports into a new snapshot of the store, or find the one they were read into.

    Posts on the store's list of deletions stay out.

    Args:
        paths: Files and folders, in any order.
        store: The posts' folder of the workspace.
        options: Network, format and columns, where the guess is wrong.
        progress: Told the posts read so far.

    Raises:
        ConfigError: Another process is changing this store.
        DataError: A path is missing, is no export, or no post in it can be read.
    """
    with opened_sources(paths, options=options) as given:
        sources = without_copies(given)
        facts = [source_facts(source, options) for source in sources]
        inputs = snapshot_inputs(None, facts, deletions=Deletions.load(store))
        if (found := use_snapshot(store, inputs)) is not None:
            return found
        with one_writer(store) as spool:
            gathered = gather_posts(sources, spool, options=options, progress=progress)
            deletions = Deletions.load(store).with_deleted(gathered.deleted)
            if gathered.deleted:
                deletions.save(store)
            return write_snapshot(
                store, base=None, gathered=gathered, deletions=deletions, progress=progress
            )

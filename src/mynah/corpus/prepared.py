"""The first pass over the posts, shard by shard: clean, judge, take out what is private, sign.

Reads shards of the post store; writes one Arrow file a shard, which later steps map into memory.
Every shard is worked on by itself, so any number of workers gives the same files.
"""

import logging
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import polars as pl
import pyarrow as pa

from mynah.corpus.clean_column import clean_column
from mynah.corpus.config import CorpusConfig
from mynah.corpus.engine import Engine
from mynah.corpus.language import detect_languages, language_prior
from mynah.corpus.privacy import redact
from mynah.corpus.quality import judge
from mynah.corpus.signatures import sign
from mynah.posts import load_columns, shard_paths
from mynah.progress import Progress
from mynah.workspace import Artifact

__all__ = ["Prepared", "prepare_posts"]

logger = logging.getLogger(__name__)

_READ = (
    "id",
    "author",
    "created_at",
    "text",
    "lang",
    "reply_to",
    "likes",
    "may_train",
    "kind",
)
FACTS = (
    "id",
    "author",
    "created_at",
    "lang",
    "reply_to",
    "likes",
    "may_train",
    "has_link",
    "reason",
)
"""Columns that the later steps hold in memory for all posts at once."""


@dataclass(frozen=True, slots=True)
class Prepared:
    """Every post of a store after the first pass; rows are numbered across the parts."""

    parts: tuple[Path, ...]
    """Arrow files with ``FACTS``, ``text``, ``key`` and ``bands``."""
    num_rows: tuple[int, ...]
    """Posts in each part."""
    redacted: Mapping[str, int]
    """How many e-mail addresses and so on were replaced, by kind."""

    def facts(self) -> pl.DataFrame:
        """Return ``FACTS`` of every post."""
        return pl.concat(
            [pl.DataFrame(pl.from_arrow(_table(part).select(FACTS))) for part in self.parts]
        )

    def texts(self, rows: npt.NDArray[np.int64]) -> pa.Array:
        """Return the texts of ``rows``, in their order, out of the mapped files."""
        order = np.argsort(rows, kind="stable")
        ordered = rows[order]
        ends = np.cumsum(self.num_rows)
        borders = np.searchsorted(ordered, ends)
        pieces: list[pa.Array] = [pa.array([], pa.large_string())]
        first = 0
        for part, num_rows, end, last in zip(self.parts, self.num_rows, ends, borders, strict=True):
            if last > first:
                inside = pa.array(ordered[first:last] - (end - num_rows))
                pieces.append(_table(part)["text"].combine_chunks().take(inside))
            first = last
        back = np.empty_like(order)
        back[order] = np.arange(len(order))
        return pa.concat_arrays(pieces).take(pa.array(back))


@dataclass(frozen=True, slots=True)
class _Task:
    shard: Path
    part: Path
    config: CorpusConfig
    prior: Mapping[str, float]


def prepare_posts(
    posts: Artifact, folder: Path, *, config: CorpusConfig, engine: Engine, progress: Progress
) -> Prepared:
    """Take every shard of ``posts`` through the first pass.

    Args:
        posts: A post store.
        folder: Where the parts go; on a cluster, one that every machine sees.
        config: What is judged, and how.
        engine: Who does it.
        progress: Told the shards done.
    """
    folder.mkdir(parents=True, exist_ok=True)
    tags = load_columns(posts, ["lang"])["lang"].drop_nulls().value_counts()
    prior = language_prior(dict(tags.iter_rows()), config=config.language)
    tasks = [
        _Task(shard, folder / f"{shard.stem}.arrow", config, prior) for shard in shard_paths(posts)
    ]
    redacted: Counter[str] = Counter()
    num_rows: list[int] = []
    for done, (num_posts, counts) in enumerate(engine.map(prepare_shard, tasks), start=1):
        num_rows.append(num_posts)
        redacted.update(counts)
        progress(done, len(tasks), note="cleaning and judging posts")
    parts = tuple(task.part for task in tasks)
    return Prepared(parts, tuple(num_rows), dict(sorted(redacted.items())))


def prepare_shard(task: _Task) -> tuple[int, dict[str, int]]:
    """Read one shard, write its part; return its posts and what was replaced in them, by kind."""
    posts = pl.read_parquet(task.shard, columns=list(_READ), glob=False)
    frame, redacted = prepare(posts, config=task.config, prior=task.prior)
    table = frame.to_arrow(compat_level=pl.CompatLevel.oldest()).combine_chunks()
    is_signed = pl.col("reason").is_null() | (pl.col("reason") == "opted_out")
    texts = frame.select(pl.when(is_signed).then("text"))["text"]
    signed = sign(texts.to_arrow(compat_level=pl.CompatLevel.oldest()))
    table = table.append_column("key", signed["key"]).append_column("bands", signed["bands"])
    with pa.OSFile(str(task.part), "wb") as sink, pa.ipc.new_file(sink, table.schema) as writer:
        writer.write_table(table, max_chunksize=max(1, table.num_rows))
    return table.num_rows, redacted


def prepare(
    posts: pl.DataFrame, *, config: CorpusConfig, prior: Mapping[str, float]
) -> tuple[pl.DataFrame, dict[str, int]]:
    """Return ``FACTS`` and the cleaned ``text`` of each post, and what was taken out of them.

    A reason is the first that holds: opted out, too short, and so on. The words of a post with a
    reason are dropped here, but those of one that was opted out: its repeats are looked for.
    """
    texts = clean_column(posts["text"])
    languages = detect_languages(texts, posts["lang"], config=config.language, prior=prior)
    frame = posts.with_columns(
        texts.alias("text"),
        languages["lang"],
        posts["text"].str.contains("http", literal=True).alias("has_link"),
    )
    reason = judge(frame, quality=config.quality, language=config.language)
    frame = frame.with_columns(
        pl.when(~pl.col("may_train")).then(pl.lit("opted_out")).otherwise(reason).alias("reason")
    )
    is_kept = pl.col("reason").is_null() | (pl.col("reason") == "opted_out")
    frame = frame.with_columns(pl.when(is_kept).then("text").otherwise(pl.lit("")).alias("text"))
    texts, counts = redact(frame["text"], config=config.privacy)
    counts = counts.filter(frame["reason"].is_null())
    redacted = {kind: int(counts[kind].sum()) for kind in counts.columns}
    return frame.with_columns(texts.alias("text")).select(*FACTS, "text"), redacted


def _table(part: Path) -> pa.Table:
    with pa.memory_map(str(part)) as source:
        return pa.ipc.open_file(source).read_all()

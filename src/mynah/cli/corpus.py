"""`mynah corpus`: build what a model is trained on, and show what was left out of it and why."""

import json
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from mynah.workspace import Artifact

app = typer.Typer(help="Build the corpus of a network and look at it.", no_args_is_help=True)


class EngineName(StrEnum):
    """Who runs the steps."""

    local = "local"
    ray = "ray"


@app.callback()
def group() -> None:
    """Build the corpus of a network and look at it."""


@app.command()
def build(
    workspace: Annotated[Path, typer.Argument(help="Folder of the network, with posts in it.")],
    tokenizer: Annotated[
        str,
        typer.Option(
            help="own (trained on these posts), base (of the model `mynah up` goes on from), or "
            "a tokenizer.json. [default: base once `mynah up` has run here, else own]"
        ),
    ] = "",
    vocab_size: Annotated[
        int, typer.Option(help="Tokens of an own tokenizer.", min=260, max=1_000_000)
    ] = 32_768,
    set_value: Annotated[
        list[str] | None,
        typer.Option("--set", help="Any field of the corpus, such as min_similarity=0.8."),
    ] = None,
    engine: Annotated[
        EngineName, typer.Option(help="local: this machine; ray: Daft on a Ray cluster.")
    ] = EngineName.local,
    address: Annotated[
        str, typer.Option(help="Of the Ray cluster; empty starts one on this machine.")
    ] = "",
    as_json: Annotated[bool, typer.Option("--json", help="Print the manifest's counts.")] = False,
) -> None:
    """Build documents, token shards, dialogues and preference pairs from the posts.

    Every post that is left out is listed with its reason in excluded.parquet; `mynah corpus show`
    draws the funnel. The same posts and settings give the same bytes, on any number of cores.
    """
    from mynah.cli.bars import progress_bar
    from mynah.cli.opened import open_workspace
    from mynah.job import CorpusOrder, build_workspace_corpus

    order = CorpusOrder(
        tokenizer=tokenizer,
        vocab_size=vocab_size,
        set_value=tuple(set_value or ()),
        engine=engine.value,
        address=address,
    )
    place = open_workspace(workspace)
    with progress_bar("Corpus") as progress:
        corpus = build_workspace_corpus(place, order, progress=progress)
    if as_json:
        typer.echo(json.dumps(dict(corpus.counts), indent=2, ensure_ascii=False))
        return
    counts = corpus.counts
    typer.echo(
        f"{counts['num_documents']:,} documents, {counts['num_tokens']:,} tokens, "
        f"{counts['num_heldout']:,} held out: {corpus.folder}"
    )
    typer.echo(f"what was left out and why: mynah corpus show {workspace}", err=True)


@app.command()
def show(
    workspace: Annotated[Path, typer.Argument(help="Folder of the network.")],
    as_json: Annotated[bool, typer.Option("--json", help="Print the manifest.")] = False,
) -> None:
    """Print the funnel: what came in, what was left out and why, languages, and what is left."""
    from mynah.cli.opened import open_workspace
    from mynah.corpus import CORPUS_KIND
    from mynah.errors import ConfigError
    from mynah.posts import POSTS_KIND
    from mynah.workspace import latest_artifact

    place = open_workspace(workspace)
    corpus = latest_artifact(place.corpus, kind=CORPUS_KIND)
    if corpus is None:
        raise ConfigError(
            f"{workspace} has no corpus", hint=f"build it: mynah corpus build {workspace}"
        )
    posts = latest_artifact(place.posts, kind=POSTS_KIND)
    if as_json:
        manifest = {"inputs": corpus.inputs, "counts": corpus.counts, "files": corpus.files}
        typer.echo(json.dumps(manifest, indent=2, ensure_ascii=False))
        return
    for line in _lines(posts, corpus):
        typer.echo(line)


@dataclass(frozen=True, slots=True)
class _Row:
    name: str
    count: int
    is_loss: bool


def _lines(posts: Artifact | None, corpus: Artifact) -> list[str]:
    from mynah.web import funnel_steps

    steps = funnel_steps(posts.counts if posts else None, corpus.counts)
    rows = [_Row(step.name, step.count, step.is_loss) for step in steps]
    lines = [*_bars(rows), ""]
    counts = corpus.counts
    languages = sorted(counts["languages"].items(), key=lambda entry: (-entry[1], entry[0]))
    lines.append("Languages of what is learned from")
    lines += _bars([_Row(name or "unknown", count, False) for name, count in languages[:12]])
    if redacted := {name: count for name, count in counts["redacted"].items() if count}:
        lines += ["", "Taken out of texts"]
        lines += _bars([_Row(name, count, False) for name, count in redacted.items()])
    lines += ["", "Tokens by language (tokens a word, bytes a token)"]
    for row in counts["fertility"][:12]:
        lines.append(f"  {_fertility_line(row)}")
    lines += ["", f"{counts['num_tokens']:,} tokens, encoded by {counts['encoder']}"]
    lines.append(
        f"{counts['num_threads']:,} dialogues and {counts['num_preferences']:,} preference "
        f"pairs from threads"
    )
    lines.append(str(corpus.folder))
    return lines


def _bars(rows: list[_Row]) -> list[str]:
    widest = max((row.count for row in rows), default=0) or 1
    width = max((len(row.name) for row in rows), default=0)
    lines: list[str] = []
    for row in rows:
        bar = "#" * max(1 if row.count else 0, round(30 * row.count / widest))
        sign = "-" if row.is_loss else " "
        lines.append(f"  {row.name:<{width}}  {bar:<30}  {sign}{row.count:,}")
    return lines


def _fertility_line(row: dict[str, Any]) -> str:
    language = row["lang"] or "unknown"
    per_word, per_token = row["tokens_per_word"], row["bytes_per_token"]
    return f"{language:<8} {per_word:6.2f} {per_token:6.2f}   of {row['num_posts']:,} posts"

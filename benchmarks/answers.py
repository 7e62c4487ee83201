"""Are answers supported by posts as well after training as before? 20 fixed questions.

Support is judged here without the assistant's own checker: the share of an answer's words that
stand in a run of at least four words which also stands, in the same order, in one of the posts
shown. Measured of what the model said by itself, and of the answer that was let through.
"""

import argparse
import re
import statistics
from collections.abc import Iterator
from pathlib import Path

from mynah.chat import Assistant, Finished, Retrieved, Sentence
from mynah.corpus import ShownPost
from mynah.model import fetch_base
from mynah.search import SEARCH_KIND, SearchIndex
from mynah.serve import Delta, EnginePool, LlamaCppConfig, LlamaCppEngine, Message, Sampling
from mynah.workspace import Workspace, latest_artifact

QUESTIONS = (
    "What is said about jobs?",
    "What do people say about taxes?",
    "What did Hillary say about college?",
    "What did Trump say about the wall?",
    "What do people say about gun violence?",
    "What is said about immigration?",
    "Why does climate change matter?",
    "What did Trump say about trade deals?",
    "What does Hillary say about equal pay?",
    "What is said about veterans?",
    "What do people say about the Supreme Court?",
    "What did Trump say about the media?",
    "What is said about health care?",
    "What do people say about the debate?",
    "What did Hillary say about small businesses?",
    "What is said about Bernie Sanders?",
    "What did Trump say about ISIS?",
    "What do people say about the economy?",
    "What is said about Mike Pence?",
    "What do people say about voting?",
)
RUN = 4
"""Words in a row that count as said by a post."""


class Heard:
    """An engine that keeps what it said."""

    def __init__(self, engine: LlamaCppEngine) -> None:
        self._engine = engine
        self.text = ""

    def __getattr__(self, name: str):
        return getattr(self._engine, name)

    def generate(self, messages: list[Message], *, sampling: Sampling) -> Iterator[Delta]:
        """Pass on the stream and remember it."""
        self.text = ""
        for delta in self._engine.generate(messages, sampling=sampling):
            self.text += delta.text
            yield delta


def words(text: str) -> list[str]:
    """Words alone, folded; marks of citations are no words."""
    return re.findall(r"\w+", re.sub(r"\[\d+\]", " ", text).casefold())


def support(answer: str, posts: list[str]) -> float:
    """Share of the answer's words that stand in a run of ``RUN`` words of one post."""
    said = words(answer)
    known = {tuple(p[i : i + RUN]) for p in map(words, posts) for i in range(len(p) - RUN + 1)}
    covered = [False] * len(said)
    for start in range(len(said) - RUN + 1):
        if tuple(said[start : start + RUN]) in known:
            covered[start : start + RUN] = [True] * RUN
    return sum(covered) / len(said) if said else 0.0


def ask_all(gguf: Path, index: SearchIndex) -> dict[str, float]:
    """Ask the 20 questions; means over them."""
    engine = Heard(LlamaCppEngine(gguf, config=LlamaCppConfig(), model=gguf.parent.name))
    pool = EnginePool()
    pool.add(engine)
    assistant = Assistant(pool, lambda: index)
    rows = []
    for question in QUESTIONS:
        posts: list[str] = []
        sentences: list[Sentence] = []
        is_answered = False
        for event in assistant.answer([Message("user", question)], sampling=Sampling()):
            match event:
                case Retrieved():
                    posts = [
                        f"{cited.post.author} writes {shown(cited.post)}" for cited in event.posts
                    ]
                case Sentence():
                    sentences.append(event)
                case Finished():
                    is_answered = event.is_answered
        own = [s for s in sentences if s.citations and not s.is_quotation]
        rows.append(
            {
                "raw": support(engine.text, posts),
                "final": support(" ".join(s.text for s in sentences), posts),
                "own": len(own) / max(1, len(sentences)),
                "answered": float(is_answered),
                "cited": float(len({n for s in sentences for n in s.citations})),
            }
        )
    pool.close()
    return {key: statistics.fmean(row[key] for row in rows) for key in rows[0]}


def shown(post) -> str:
    """What the model saw of a post."""
    return ShownPost(author=post.author, created_at=post.created_at, text=post.text).words


def compare(folder: Path) -> list[str]:
    """Base and trained model of a workspace side by side, as lines of a table."""
    workspace = Workspace(folder)
    artifact = latest_artifact(workspace.search, kind=SEARCH_KIND)
    index = SearchIndex(artifact)
    trained = max(workspace.models.glob("mynah-*/*.gguf"), key=lambda p: p.stat().st_mtime)
    before, after = ask_all(fetch_base(), index), ask_all(trained, index)
    names = {
        "raw": "what the model said: share of words in runs of 4 that a shown post has",
        "final": "the answer let through: the same share",
        "own": "share of sentences that are the model's own and passed the checker",
        "answered": "questions answered, of 1",
        "cited": "posts cited an answer",
    }
    lines = [f"{len(QUESTIONS)} fixed questions, greedy:", ""]
    lines += ["| mean over questions | base | trained |", "|---|---|---|"]
    lines += [f"| {names[k]} | {before[k]:.2f} | {after[k]:.2f} |" for k in names]
    return lines


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("workspace", type=Path, help="of a finished `mynah up` on the sample")
    print("\n".join(compare(parser.parse_args().workspace)))

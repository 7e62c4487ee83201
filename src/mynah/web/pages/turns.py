"""One turn of a conversation: what was asked, what came back, and how it looks on the Ask page.

A ``Turn`` is plain data and survives a reload of the page; a ``TurnView`` draws it as it grows.
"""

import re
from collections.abc import Collection
from dataclasses import dataclass, field
from urllib.parse import quote

from nicegui.element import Element

from mynah.ads import Impression
from mynah.chat import AnswerEvent, CitedPost, Finished, Retrieved, Sentence
from mynah.errors import MynahError
from mynah.serve import Message
from mynah.web.cards import ad_card, post_head, show_post
from mynah.web.markup import box, error_note, highlighted, link, text
from mynah.web.wording import exact_number, plural

__all__ = ["Turn", "TurnView", "messages_of", "split_marks"]

_MARK = re.compile(r"\[(\d+)\]")


@dataclass(slots=True)
class Turn:
    """A question and as much of its answer as has come."""

    question: str
    events: list[AnswerEvent] = field(default_factory=lambda: [])
    error: MynahError | None = None
    ad: Impression | None = None
    is_stopped: bool = False

    @property
    def is_finished(self) -> bool:
        """Whether the answer came to its own end."""
        return bool(self.events) and isinstance(self.events[-1], Finished)

    def shows(self, post_ids: Collection[str]) -> bool:
        """Whether one of these posts was read for the answer."""
        return any(
            cited.post.id in post_ids
            for event in self.events
            if isinstance(event, Retrieved)
            for cited in event.posts
        )

    @property
    def answer(self) -> str:
        """The answer's words without their marks, as a later turn is told them."""
        sentences = (event.text for event in self.events if isinstance(event, Sentence))
        return re.sub(r"\s*\[\d+\]", "", "".join(sentences)).strip()


def messages_of(turns: list[Turn], question: str) -> list[Message]:
    """Earlier turns and the new question, as the assistant reads a conversation."""
    messages: list[Message] = []
    for turn in turns:
        if turn.answer:
            messages += [Message("user", turn.question), Message("assistant", turn.answer)]
    return [*messages, Message("user", question)]


def split_marks(sentence: Sentence) -> list[str | int]:
    """Split a sentence into its words and the numbers it cites; other brackets stay words."""
    pieces: list[str | int] = []
    at = 0
    for match in _MARK.finditer(sentence.text):
        if int(match[1]) not in sentence.citations:
            continue
        if words := sentence.text[at : match.start()]:
            pieces.append(words)
        pieces.append(int(match[1]))
        at = match.end()
    if rest := sentence.text[at:]:
        pieces.append(rest)
    return pieces


class TurnView:
    """A turn on the page. Feed it events in their order; it never looks back."""

    def __init__(self, turn: Turn, number: int) -> None:
        self.turn = turn
        self.number = number
        self.posts: dict[int, CitedPost] = {}
        self.shown: set[int] = set()
        with box("article", "turn"):
            text("h2", turn.question, "question")
            with box("div", "answer-side") as self.side:
                self.answer = box("div", "answer", aria_live="polite")
                with box("p", "working") as self.working:
                    box("span", "dot is-live", aria_hidden="true")
                    self.doing = text("span", "Searching the posts")
            self.behind = box("aside", "behind", aria_label="Posts behind this answer")
            self.ad_place = box("div", "ad-place")
        for event in turn.events:
            self.add(event)
        if turn.error is not None or turn.is_stopped or turn.ad is not None:
            self.end()

    def add(self, event: AnswerEvent) -> None:
        """Draw one event of the answer."""
        if isinstance(event, Retrieved):
            self.posts = {cited.number: cited for cited in event.posts}
            count = plural(len(event.posts), "post")
            self.doing.text = f"Reading {count}" if event.posts else "No post fits"
        elif isinstance(event, Sentence):
            self._add_sentence(event)
        else:
            self._finish(event)

    def end(self) -> None:
        """Draw what comes after the last event: a stop, an error, an ad."""
        self.working.set_visibility(False)
        self.working.props["hidden"] = ""
        with self.side:
            if self.turn.error is not None:
                error_note(self.turn.error)
            if self.turn.is_stopped:
                text("p", "This answer was stopped.", "note")
        if self.turn.ad is not None:
            with self.ad_place:
                ad_card(self.turn.ad)

    def _add_sentence(self, sentence: Sentence) -> None:
        with (
            self.answer,
            box("span", "sentence quotation" if sentence.is_quotation else "sentence"),
        ):
            for piece in split_marks(sentence):
                if isinstance(piece, str):
                    text("span", piece)
                else:
                    self._mark(piece)
        for number in sentence.citations:
            self._show_behind(number)

    def _mark(self, number: int) -> None:
        cited = self.posts.get(number)
        if cited is None:
            text("span", f"[{number}]")
            return
        mark = text("button", str(number), "mark", type="button",
                    data_cites=f"{self.number}-{number}",
                    aria_label=f"Post {number}, by {cited.post.author or 'someone'}")  # fmt: skip
        mark.on("click", lambda: show_post(cited.post, title=f"Post {number}"))

    def _show_behind(self, number: int) -> None:
        cited = self.posts.get(number)
        if cited is None or number in self.shown:
            return
        with self.behind:
            if not self.shown:
                text("h3", "Posts behind this answer")
            card = self._cited_card(cited)
        card.move(self.behind, target_index=1 + sum(other < number for other in self.shown))
        self.shown.add(number)

    def _cited_card(self, cited: CitedPost) -> Element:
        card = box("button", "cited", type="button", data_cited=f"{self.number}-{cited.number}")
        with card:
            with post_head(cited.post, time="short") as head:
                number = text("span", str(cited.number), "mark")
            number.move(head, target_index=0)
            highlighted(cited.post.text, ())
        card.on("click", lambda: show_post(cited.post, title=f"Post {cited.number}"))
        return card

    def _finish(self, finished: Finished) -> None:
        self.working.set_visibility(False)
        rest = [cited for number, cited in self.posts.items() if number not in self.shown]
        if rest:
            with self.behind, box("details"):
                more = "more " if self.shown else ""
                text("summary", f"{plural(len(rest), more + 'post')} read and not used")
                for cited in rest:
                    self._cited_card(cited)
        with self.side:
            if not finished.is_answered:
                with box("p", "note unanswered"):
                    text("span", "This is not an answer from posts. ")
                    link("Search for it", f"/search?q={quote(self.turn.question)}")
            self._foot(finished)

    def _foot(self, finished: Finished) -> None:
        count = finished.num_completion_tokens
        read = exact_number(finished.num_prompt_tokens)
        with box("footer", "answer-foot"):
            text("span", finished.model, title="The model that answered")
            text("span", plural(count, "token"), title=f"Written after reading {read} tokens")
            if finished.finish_reason == "length":
                text("span", "cut at its longest length")

"""The checker: which posts support a sentence, and what takes its place when none does.

It knows nothing of the model. A sentence is supported when its words, in quotation marks or not,
stand in one post word for word and without a gap, and cut no "not", "if" or question mark off the
sentence they are taken from. Around them only its author may be named, and little words may say
that someone writes this. Whatever else a sentence says, no matter how likely, is not supported:
its place is taken by a quotation of the post that it comes closest to.
"""

import re
import unicodedata
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from mynah.chat.events import CitedPost, Sentence
from mynah.corpus import ShownPost, quotation

__all__ = ["Grounding", "shown_post"]

MARK = re.compile(r"\s*\[(\d+)\]")
QUOTED = re.compile(r'"([^"]*)"')
ATTRIBUTION = re.compile(
    r"^[^\w\"@]*(?:[Aa]ccording to (?P<source>@?[\w.@-]+(?: [A-Z]\w+)?),"
    r"|(?P<name>@?[\w.@-]+(?: \w+)?) (?:also )?"
    r"(?:writes|wrote|says|said|thinks|claims|tweeted|posted|asks|calls)\b(?: that\b)?:?)"
)
PREAMBLE = re.compile(r"^(?:The|My) answer(?: to (?:the|this|your) question)? is[:,]?\s*", re.I)
ANYBODY = frozenset(("a post", "one post", "another post", "the post", "they", "people"))
"""Who may be said to write what stands in any post."""
_AROUND = (
    "a an the one another this post posts it people they and also as in writes wrote says said "
    "say write that on social network someone somebody"
)
AROUND = frozenset(_AROUND.split())
"""Words that may stand around a quotation: they claim no more than that someone writes it."""

WORD = re.compile(r"(?<![\w-])-?\d+(?:[.,:]\d+)*%?|[\w@]+(?:['.@-]\w+)*%?|[?!.]*\?[?!.]*|[^\w\s]")
SENTENCE_END = re.compile(r"(?<=[.!?;])\s+")
_TURNS = (
    "not no never nobody none nor neither nothing nowhere cannot without hardly barely scarcely "
    "rarely seldom dont doesnt didnt isnt arent wasnt werent wont cant couldnt wouldnt shouldnt "
    "hasnt havent hadnt aint if unless whether would could might may maybe perhaps allegedly "
    "supposedly deny denies denied denying doubt doubts false falsely wrong wrongly lie lies lied "
    "myth hoax fake rumor rumour joke joking kidding imagine pretend pretends ?"
)
TURNS = frozenset(_TURNS.split())
"""Words that turn the meaning of their sentence: who cuts them off says something else."""

MIN_WORDS = 2
"""Words of a post that a sentence must have at least; one word alone says nothing."""
MIN_MEANT = 0.5
"""Share from which a sentence that no post supports still says which post it meant."""


def shown_post(cited: CitedPost) -> ShownPost:
    """Return what the model saw of a post."""
    post = cited.post
    return ShownPost(author=post.speaker, created_at=post.created_at, text=post.text)


def _words(text: str) -> list[str]:
    """Words, numbers with their signs, question marks and symbols; folded, without punctuation."""
    folded = unicodedata.normalize("NFKC", text).casefold().replace("\u2019", "'")
    words: list[str] = []
    for found in WORD.findall(folded):
        if found.endswith("?"):
            words.append("?")
        elif found[-1].isdigit() or found[-1] == "%":
            words.append(found.lstrip("@"))
        elif found[0].isalnum() or found[0] in "_@":
            words.extend([found.strip("@_")] if found.strip("@_") else [])
        elif unicodedata.category(found[0])[0] in "SM":  # symbols, and the vowel signs of India
            words.append(found)
    return words


def _is_turn(word: str) -> bool:
    return word in TURNS or word.endswith("n't")


@dataclass(frozen=True, slots=True)
class _Evidence:
    cited: CitedPost
    shown: ShownPost
    words: tuple[str, ...]
    sentence: tuple[int, ...]
    """Number of the sentence that each word stands in."""
    terms: frozenset[str]

    @classmethod
    def read(cls, cited: CitedPost, analyse: Callable[[str], list[str]]) -> "_Evidence":
        shown = shown_post(cited)
        sentences = [_words(part) for part in SENTENCE_END.split(shown.words)]
        return cls(
            cited,
            shown,
            words=tuple(word for part in sentences for word in part),
            sentence=tuple(number for number, part in enumerate(sentences) for _ in part),
            terms=frozenset(analyse(f"{shown.words} {shown.handle}")),
        )

    def holds(self, run: list[str]) -> bool:
        """Whether ``run`` stands here in one piece, and no turn of its sentences is cut off."""
        if not run or (len(run) < MIN_WORDS and tuple(run) != self.words):
            return False
        return any(
            list(self.words[start : start + len(run)]) == run
            and not self._cuts_a_turn(start, start + len(run))
            for start in range(len(self.words) - len(run) + 1)
        )

    def _cuts_a_turn(self, start: int, end: int) -> bool:
        first, last = self.sentence[start], self.sentence[end - 1]
        return any(
            _is_turn(word) and first <= self.sentence[place] <= last
            for place, word in enumerate(self.words)
            if not start <= place < end
        )

    def is_by(self, name: str) -> bool:
        """Whether ``name``, as a sentence gives it, is who wrote this, or nobody in particular."""
        folded, author = name.casefold().removesuffix(" also"), self.shown.handle.casefold()
        if folded in ANYBODY or folded.removeprefix("@") == author:
            return True
        return not folded.startswith("@") and set(folded.split()) <= self.author_words

    @property
    def author_words(self) -> set[str]:
        """The handle, and the words it is made of: hillaryclinton, hillary, clinton."""
        handle = self.shown.handle
        parts = re.findall(r"[A-Z]+(?![a-z])|[A-Z]?[^\W\d_A-Z]{2,}", handle)
        return {part.casefold() for part in parts if len(part) > 2} | set(_words(handle))


class Grounding:
    """Checks the sentences of one answer against the posts it was made from.

    Args:
        posts: The posts that were shown, in the order of their numbers.
        analyse: Text to terms, as the search index does it.
        weight: How telling a term is, such as its inverse document frequency.
        stop_terms: Terms that mean nothing by themselves.
    """

    def __init__(
        self,
        posts: Sequence[CitedPost],
        *,
        analyse: Callable[[str], list[str]],
        weight: Callable[[str], float],
        stop_terms: frozenset[str],
    ) -> None:
        self._analyse = analyse
        self._weight = weight
        self._stop_terms = stop_terms
        self._evidence = [_Evidence.read(cited, analyse) for cited in posts]
        self._said: list[str] = []
        self._quoted: set[int] = set()

    def check(self, sentence: str) -> Sentence | None:
        """Return the sentence with the marks of its support, or ``None`` when nothing supports it.

        What was said before is not supported again.
        """
        claim = PREAMBLE.sub("", MARK.sub("", sentence).strip())
        said = " ".join(_words(ATTRIBUTION.sub("", claim)))
        if not said or any(f" {said} " in f" {earlier} " for earlier in self._said):
            return None
        support = self.support(claim)
        if not support:
            return None
        self._said.append(said)
        self._quoted.update(support[:1])
        marks = "".join(f" [{number}]" for number in support[:2])
        return Sentence(text=claim + marks, citations=tuple(support[:2]))

    def support(self, claim: str) -> list[int]:
        """Return the numbers of the posts that support ``claim``, best first."""
        scored = [(_score(claim, evidence), evidence) for evidence in self._evidence]
        scored = [(score, evidence) for score, evidence in scored if score > 0]
        scored.sort(key=lambda pair: (-pair[0], pair[1].cited.number))
        return [evidence.cited.number for _, evidence in scored]

    def quote_meant(self, sentence: str) -> Sentence | None:
        """Return a quotation of the post that an unsupported sentence comes closest to.

        A model that gets a word of a quotation wrong has still chosen the post.
        """
        claim = MARK.sub("", sentence)
        closest = max(
            (e for e in self._evidence if self._is_unused(e)),
            key=lambda evidence: self._shared(claim, evidence.terms),
            default=None,
        )
        if closest is None or self._shared(claim, closest.terms) < MIN_MEANT:
            return None
        return self._quote(closest)

    def quote_next(self) -> Sentence | None:
        """Return a quotation of the best post that the answer has not used yet."""
        unused = next((e for e in self._evidence if self._is_unused(e)), None)
        return None if unused is None else self._quote(unused)

    def _is_unused(self, evidence: _Evidence) -> bool:
        return bool(evidence.shown.words) and evidence.cited.number not in self._quoted

    def _quote(self, evidence: _Evidence) -> Sentence:
        number = evidence.cited.number
        self._quoted.add(number)
        self._said.append(" ".join(evidence.words))
        text = quotation(number, evidence.shown.handle, evidence.shown.words)
        return Sentence(text=text, citations=(number,), is_quotation=True)

    def _shared(self, claim: str, evidence: frozenset[str]) -> float:
        """Share of a claim's content words, by how telling they are, that are in a post."""
        terms = set(self._analyse(claim)) - self._stop_terms
        total = sum(self._weight(term) for term in terms)
        if len(terms) < 2 or total <= 0.0:
            return 0.0
        return sum(self._weight(term) for term in terms & evidence) / total


def _score(claim: str, evidence: _Evidence) -> int:
    """2 for a quotation that a post holds, 1 for its bare words, 0 for what it does not say."""
    if claim.count('"') % 2:
        return 0
    attributed = ATTRIBUTION.match(claim)
    if attributed and not evidence.is_by(attributed["source"] or attributed["name"]):
        return 0
    body = ATTRIBUTION.sub("", claim)
    quoted = QUOTED.findall(body)
    around = set(_words(QUOTED.sub(" ", body)))
    author = evidence.author_words
    allowed = AROUND | author | {f"{word}'s" for word in author}
    if len(quoted) == 1 and around <= allowed and evidence.holds(_words(quoted[0])):
        return 2
    return int(evidence.holds(_words(body)))

"""What became of the posts: documents, languages, private details, tokens by language.

Reads the manifest and ``documents.parquet`` of the corpus, and the store's language tags.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import polars as pl

from mynah.posts import shard_paths
from mynah.web.language_names import language_name
from mynah.web.markup import box, number, text
from mynah.web.wording import exact_number, plural, short_number
from mynah.workspace import Artifact

__all__ = ["Language", "compare_languages", "show_fertility", "show_languages", "show_outcome",
           "show_redactions"]  # fmt: skip

_MAX_LANGUAGES = 8
_FEWEST = 0.001
"""Share of the posts from which a language is shown without being asked for."""
_MAX_FERTILITY_ROWS = 30
_DIFFERS_FROM = 0.1
"""Share of a language's posts from which tags that say something else are pointed out."""
_UNSPACED = ("ja", "km", "lo", "my", "th", "yue", "zh")
"""Languages written without spaces: what a word is, no space tells."""
_KINDS = {
    "email": ("e-mail address", "e-mail addresses"),
    "phone": ("phone number", "phone numbers"),
    "ip": ("IP address", "IP addresses"),
    "card": ("card number", "card numbers"),
    "iban": ("bank account", "bank accounts"),
    "address": ("postal address you named", "postal addresses you named"),
    "name": ("name you named", "names you named"),
    "mention": ("mention", "mentions"),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Language:
    """How many posts of the corpus are in a language."""

    code: str
    """Empty when it cannot be told, or is not tagged."""
    num_detected: int
    num_tagged: int

    @property
    def differs(self) -> bool:
        """Whether tags and words disagree about more than a few posts."""
        most = max(self.num_detected, self.num_tagged)
        return abs(self.num_detected - self.num_tagged) > max(1, _DIFFERS_FROM * most)


def compare_languages(posts: Artifact, corpus: Artifact) -> list[Language]:
    """Count the corpus's posts by language, from their words and by the network's tags."""
    documents = pl.scan_parquet(corpus.folder / "documents.parquet", glob=False)
    tags = pl.scan_parquet(shard_paths(posts), glob=False).select("id", tag="lang")
    pairs = (
        documents.select("post_id", "lang")
        .join(tags, left_on="post_id", right_on="id", how="left")
        .group_by("lang", "tag")
        .len()
        .collect()
    )
    detected = dict(pairs.group_by(pl.col("lang").fill_null("")).agg(pl.col("len").sum()).rows())
    tagged = dict(pairs.group_by(pl.col("tag").fill_null("")).agg(pl.col("len").sum()).rows())
    languages = [
        Language(code=code, num_detected=detected.get(code, 0), num_tagged=tagged.get(code, 0))
        for code in {*detected, *tagged}
    ]
    return sorted(languages, key=lambda one: (-one.num_detected, -one.num_tagged, one.code))


def show_languages(languages: list[Language]) -> None:
    """Draw how many posts there are in each language, with the tags where they disagree."""
    text("h2", "Languages")
    num_posts = sum(one.num_detected for one in languages)
    num_tags = sum(one.num_tagged for one in languages if one.code)
    # Beside tags that most posts lack, the words would seem to disagree with them.
    is_tagged = 2 * num_tags > num_posts
    tags = (
        ""
        if is_tagged
        else f" The network tagged {exact_number(num_tags) if num_tags else 'none'}."
    )
    text("p", f"Of what is learned from, told from the words.{tags}", "note")
    common = [one for one in languages if one.num_detected >= _FEWEST * num_posts]
    shown = common[:_MAX_LANGUAGES]
    widest = max((one.num_detected for one in shown), default=0)
    kind = "compared" if is_tagged and any(one.differs for one in shown) else ""
    for one in shown:
        is_told = is_tagged and one.code and one.differs
        tagged = f"tagged {short_number(one.num_tagged)}" if is_told else ""
        _row(language_name(one.code), one.num_detected, widest=widest, aside=tagged, kind=kind,
             exact=f"{exact_number(one.num_detected)} posts, {exact_number(one.num_tagged)} as the "
             "network tagged them")  # fmt: skip
    if rest := languages[len(shown) :]:
        with box("details"):
            text("summary", f"{plural(len(rest), 'more language', 'more languages')}")
            for one in rest:
                _row(language_name(one.code), one.num_detected, widest=widest,
                     exact=f"{exact_number(one.num_detected)} posts")  # fmt: skip


def show_redactions(redacted: Mapping[str, int]) -> None:
    """Draw what was replaced in the texts, by kind."""
    text("h2", "Private details taken out")
    counts = sorted(((n, kind) for kind, n in redacted.items() if n), reverse=True)
    if not counts:
        text("p", "No e-mail address, phone or card number was found in what is learned from.",
             "note")  # fmt: skip
        return
    text("p", "Replaced by a word such as [email] before anything is learned.", "note")
    for count, kind in counts:
        one, many = _KINDS.get(kind, (kind, kind))
        _row(many.capitalize() if kind != "ip" else many, count, widest=counts[0][0],
             exact=plural(count, one, many))  # fmt: skip


def show_outcome(counts: Mapping[str, Any]) -> None:
    """Draw what the posts became."""
    text("h2", "What became of it")
    num_train = int(counts["num_documents"]) - int(counts["num_heldout"])
    facts = (
        ("Documents", num_train,
         f"and {exact_number(counts['num_heldout'])} held out; a chain of replies is one"),
        ("Chains of replies", counts["num_chains"], "documents of two posts or more"),
        ("Dialogues", counts["num_threads"], "pieces of threads where people take turns"),
        ("Preference pairs", counts["num_preferences"],
         "two answers to one post, of which people clearly preferred one"),
        ("Tokens", counts["num_tokens"],
         f"to learn from, and {exact_number(counts['num_heldout_tokens'])} held out; "
         f"encoded by {counts['encoder']}"),
    )  # fmt: skip
    with box("dl", "stats"):
        for name, count, meaning in facts:
            with box("div", "stat", title=f"{exact_number(count)} {meaning}"):
                text("dt", name)
                text("dd", short_number(count))
    text("p", f"Tokens are those of Hugging Face\u2019s tokenizer, encoded by {counts['encoder']}. "
         "Chains, dialogues and pairs come from replies.", "note")  # fmt: skip


def show_fertility(rows: list[Mapping[str, Any]]) -> None:
    """Lay out how many tokens each language takes."""
    # Of fewer posts, the numbers say nothing of a language.
    fewest = _FEWEST * sum(row["num_posts"] for row in rows)
    common = [row for row in rows if row["num_posts"] >= fewest]
    with box("details"):
        text("summary", "Tokens by language")
        text("p", "The more tokens a word takes, the less of that language the model sees at once.",
             "note")  # fmt: skip
        with box("div", "table-wrap"), box("table", "data narrow"):
            with box("thead"), box("tr"):
                text("th", "Language")
                for name in ("Posts", "Tokens a word", "Bytes a token"):
                    text("th", name, "right")
            with box("tbody"):
                for row in common[:_MAX_FERTILITY_ROWS]:
                    with box("tr"):
                        text("td", language_name(row["lang"]))
                        text("td", short_number(row["num_posts"]), "right",
                             title=f"Measured on {exact_number(row['num_sampled'])}")  # fmt: skip
                        _tokens_a_word(row)
                        text("td", f"{row['bytes_per_token']:.2f}", "right")


def _tokens_a_word(row: Mapping[str, Any]) -> None:
    if row["lang"] in _UNSPACED:
        text("td", "\u2013", "right", title="Written without spaces between words")
    else:
        text("td", f"{row['tokens_per_word']:.2f}", "right")


def _row(
    name: str, count: int, *, widest: int, exact: str, aside: str = "", kind: str = ""
) -> None:
    with box("div", f"language {kind}"):
        text("span", name, title=name)
        with box("div", "bar", aria_hidden="true"):
            box("span").style(f"width: {100 * count / max(widest, 1):.2f}%")
        number(short_number(count), exact, "right")
        if aside:
            text("span", aside, "note aside", title=exact)

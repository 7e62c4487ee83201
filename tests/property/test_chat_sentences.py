"""However a stream is cut into pieces, the same sentences come out, and nothing is lost."""

from itertools import pairwise

from hypothesis import given, settings
from hypothesis import strategies as st

from mynah.chat import SentenceSplitter

PARTS = st.sampled_from(
    [
        "a",
        "Bo",
        " ",
        "  ",
        ".",
        "!",
        "? ",
        '"',
        "\n",
        "[1]",
        " [2]",
        "(",
        "'",
        "@",
        "3.5",
        ". A",
        '" [1] [2] b',
        '" [1] "',
    ]
)
TEXTS = st.lists(PARTS, max_size=40).map("".join)


def split(pieces: list[str]) -> list[str]:
    splitter = SentenceSplitter()
    done = [sentence for piece in pieces for sentence in splitter.feed(piece)]
    return done + splitter.flush()


@settings(max_examples=400, deadline=None)
@given(TEXTS, st.lists(st.integers(0, 80), max_size=12))
def test_any_chunking_gives_the_same_sentences(text: str, cuts: list[int]):
    places = [0, *sorted(cut for cut in cuts if cut < len(text)), len(text)]
    pieces = [text[a:b] for a, b in pairwise(places)]
    assert split(pieces) == split(list(text)) == split([text])


@settings(max_examples=300, deadline=None)
@given(TEXTS)
def test_nothing_is_lost_and_nothing_is_made_up(text: str):
    assert "".join("".join(split([text])).split()) == "".join(text.split())


@settings(max_examples=300, deadline=None)
@given(st.lists(st.text("ab .!?A[1]@", min_size=1, max_size=20), min_size=1, max_size=4))
def test_a_quotation_is_never_cut(quoted: list[str]):
    text = "".join(f'@x writes: "{part}" [1]\n' for part in quoted)
    for sentence in split(list(text)):
        assert sentence.count('"') == 2

"""Cleaning a column gives what cleaning each of its texts gives, whatever they hold."""

import polars as pl
from hypothesis import given, settings
from hypothesis import strategies as st

from mynah.corpus.clean import SHORTENERS, clean_text
from mynah.corpus.clean_column import clean_column

links = """
http https Http HTTPS:// http:// https:// :// www. . .. , ; : ! ? ) ] } / # @ & ' " < > |
t.co/Ab1 bit.ly/x https://t.co/Ab1 http://example.org/a-b.html?x=1&y=2 example.org a.b
x.co.uk :80 :8080/ user@ pic.twitter.com/ab pic.twitter.com/ RT RT@ @ada: @\u00e9:
&amp; &amp;amp; &lt; &#39; &nbsp; &copy=2 &T <| |> <|im_end|> \u2026 http:\u2026 AT&T
"""
spaces = [" ", "  ", "\n", "\t", "\x85", "\xa0", "\u2000", "\u3000", "\x1c", "\x00", "\u200b"]
marks = """
\u200d \u0301 e\u0301 \u00e9 \u1161 \u1100\u1161 \u212b \u0e48 \u094d \u05bc \u0653 \u3099
\uf900 \ufe0f \U0001f468 \U0001d15e \u017f http\u017f://a.com \u212a \u0130
"""
reposts = ["RT @ada: ", "RT @ada\u00e9: ", "RT\n@a ", "RT @ada RT @bob:"]
pieces = st.one_of(
    st.sampled_from(links.split() + marks.split() + spaces * 3 + reposts),
    st.sampled_from(sorted(SHORTENERS)),
    st.text(max_size=3),
)
texts = st.lists(pieces, max_size=12).map("".join)


@settings(max_examples=80, deadline=None)
@given(st.lists(st.none() | texts, max_size=20))
def test_a_column_is_cleaned_as_each_of_its_texts(column):
    expected = [None if text is None else clean_text(text) for text in column]
    assert clean_column(pl.Series(column, dtype=pl.String)).to_list() == expected

"""Signs of advertising in a text. Each alone is ordinary; three at once in one post are not.

Pure functions over a column of cleaned texts. The words are English, as the set that the threshold
was measured on; links, sums of money and numbers to call look alike in most languages.
"""

import polars as pl

__all__ = ["SPAM_SIGNS", "num_spam_signs"]

_BEFORE = r"(?:^|[^a-z0-9])"
"""A word begins here. Written out, since a word boundary in Unicode is slow in Polars."""
_AFTER = r"(?:$|[^a-z0-9])"


def _words(choices: str) -> str:
    return rf"(?i:{_BEFORE}(?:{choices}){_AFTER})"


SPAM_SIGNS = {
    "link": r"(?i:https?://|www\.|[a-z0-9-]\.(?:com|net|org|biz|info|tv|ly|uk)(?:$|[^a-z0-9]))",
    "money": r"(?i:[$\x{a3}\x{20ac}\x{20b9}] ?[0-9]"
    r"|[0-9] ?(?:[\x{a3}\x{20ac}]|p/|ppm|gbp|usd|dollars?|pounds?|euros?))",
    "prize": _words(
        "won|winn?er|win|prizes?|awarded|claim|guaranteed|selected|free|cash|bonus|voucher|offer"
        "|discount|deal|lottery|draw|congrat[a-z]*"
    ),
    "appeal": _words(
        "call|text|txt|reply|send|sms|dial|click|visit|subscribe|apply|order|dm|whatsapp|join"
        "|claim|collect"
    ),
    "haste": _words("now|today|urgent|hurry|limited|expires?|last chance|immediately|only"),
    "number": r"(?:^|[^0-9a-zA-Z])(?:0[0-9]{9,10}|[0-9]{5}|[0-9]{3}[ .-][0-9]{3}[ .-][0-9]{4})"
    r"(?:$|[^0-9a-zA-Z])",
    "terms": r"(?i:t&c|opt.?out|unsub|per (?:msg|min|week|wk|month)|/(?:min|msg|wk|week)"
    r"|18\+|p/min)|" + _words("stop|t's"),
}
"""Seven signs and the expression that finds each."""


def num_spam_signs(texts: pl.Series) -> pl.Series:
    """Count how many of the seven signs each text shows."""
    signs = [texts.str.contains(pattern).cast(pl.UInt8) for pattern in SPAM_SIGNS.values()]
    return sum(signs[1:], signs[0])

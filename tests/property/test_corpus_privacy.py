"""Personal data that is planted in any text goes, whole; a text without any is left alone."""

import re
import string

import polars as pl
from hypothesis import given, settings
from hypothesis import strategies as st

from mynah.corpus.privacy import PERSONAL_KINDS, PrivacyConfig, redact
from mynah.corpus.privacy_patterns import GATE, has_luhn_digit, replace_personal

DIGITS = "0123456789"
CONFIG = PrivacyConfig()


def digits(low, high=None):
    return st.text(DIGITS, min_size=low, max_size=high or low)


def redacted(text):
    return redact(pl.Series([text]), config=CONFIG)[0][0]


# What is planted


@st.composite
def cards(draw):
    num = draw(st.integers(12, 18))
    body = draw(st.sampled_from("23456")) + draw(digits(num - 1))
    check = next(d for d in DIGITS if has_luhn_digit([int(c) for c in body + d]))
    whole = body + check
    separator = draw(st.sampled_from(["", " ", "-"]))
    return separator.join(whole[i : i + 4] for i in range(0, len(whole), 4))


IBANS = [
    ("DE", "n18"), ("GB", "a4n14"), ("FR", "n10c11n2"), ("NO", "n11"), ("NL", "a4n10"),
    ("MT", "a4n5c18"), ("ES", "n20"), ("IT", "a1n10c12"), ("SA", "n2c18"), ("BR", "n23a1c1"),
    ("CH", "n5c12"), ("PL", "n24"), ("TR", "n6c16"), ("AE", "n19"), ("LC", "a4c24"),
]  # fmt: skip


@st.composite
def ibans(draw):
    country, form = draw(st.sampled_from(IBANS))
    letters = string.ascii_uppercase
    alphabets = {"n": DIGITS, "a": letters, "c": DIGITS + letters}
    body = "".join(
        draw(st.text(alphabets[kind], min_size=int(num), max_size=int(num)))
        for kind, num in re.findall(r"([nac])(\d+)", form)
    )
    turned = "".join(str(int(character, 36)) for character in body + country + "00")
    whole = f"{country}{98 - int(turned) % 97:02d}{body}"
    separator = draw(st.sampled_from(["", " "]))
    whole = separator.join(whole[i : i + 4] for i in range(0, len(whole), 4))
    return draw(st.sampled_from([whole, whole.lower()]))


name_part = st.text(string.ascii_letters + DIGITS, min_size=1, max_size=12)
emails = st.builds(
    lambda names, joint, sign, host, end: joint.join(names) + sign + ".".join([*host, end]),
    st.lists(name_part, min_size=1, max_size=3),
    st.sampled_from([".", "_", "-", "+", "%", "'"]),
    st.sampled_from(["@", "\uff20", " (at) ", "[at]"]),
    st.lists(
        st.text(string.ascii_letters + "\u00e9", min_size=1, max_size=10), min_size=1, max_size=3
    ),
    st.sampled_from(["org", "co.uk", "COM", "museum", "\u0440\u0444"]),
)


@st.composite
def phones(draw):
    sep = draw(st.sampled_from([" ", "-", "."]))
    area, mid, end = draw(digits(2)), draw(digits(3)), draw(digits(4))
    first = draw(st.sampled_from("23456789"))
    other = draw(st.sampled_from("23456789"))
    forms = [
        f"+49{sep}{first}{area}{sep}{mid}{end}",
        f"+{first}{area}{mid}{end}",
        f"0049{sep}{first}{area}{sep}{mid}{end}",
        f"+44 (0){first}{area} {mid} {end}",
        f"+1 ({first}{area}) {other}{area}-{end}",
        f"({first}{area}) {other}{area}-{end}",
        f"{first}{area}{sep}{other}{area}{sep}{end}",
        f"1-{first}{area}-{other}{area}-{end}",
        f"0{first}{area}{sep}{mid}{end}",
        f"0{first}{area}/{mid}{end}",
        f"0{first}{area}{mid}{end}",
        f"tel: {first}{area}{mid}{end}",
        f"({area}) 9{mid}{sep}{end}",
    ]
    return draw(st.sampled_from(forms))


ips = st.one_of(
    st.ip_addresses(v=4).filter(lambda ip: ip.is_global).map(str),
    st.ip_addresses(v=6, network="2000::/3").map(str),
    st.ip_addresses(v=6, network="2000::/3").map(lambda ip: ip.exploded),
)
planted = st.one_of(cards(), ibans(), emails, phones(), ips)
words = st.text(st.characters(exclude_categories=["Nd", "Nl", "No", "Cs"]), max_size=12).filter(
    lambda text: not set(text) & set("@\uff20[]$\u20ac\u00a3\u00a5\u20b9#:") and "at" not in text
)


@settings(max_examples=120, deadline=None)
@given(words, planted, words)
def test_what_is_planted_goes_whole(before, secret, after):
    text = f"{before} {secret} {after}"
    cleaned = redacted(text)
    digits_left = re.sub(r"\D", "", cleaned)
    assert digits_left == "", cleaned
    assert "@" not in cleaned
    assert any(f"[{kind}]" in cleaned for kind in PERSONAL_KINDS)


@settings(max_examples=50, deadline=None)
@given(st.lists(planted, min_size=2, max_size=4), st.sampled_from([" ", ", ", " and ", "\n"]))
def test_neighbours_leave_no_part_of_one_another(secrets, joint):
    assert re.sub(r"\D", "", redacted(joint.join(secrets))) == ""


@settings(max_examples=30, deadline=None)
@given(st.lists(words, max_size=8).map(" ".join))
def test_a_text_without_any_is_unchanged_byte_for_byte(text):
    assert redacted(text) == text


shreds = st.one_of(
    planted,
    digits(1, 9),
    st.text(max_size=3),
    st.sampled_from([*" .,-/()+@:[]=$v", "tel", "call ", "[phone]", "[email]", "\u0663\u0664"]),
)
mixed = st.lists(shreds, max_size=14).map("".join)


@settings(max_examples=150, deadline=None)
@given(mixed)
def test_doing_it_again_changes_nothing(text):
    once, _ = replace_personal(text)
    assert replace_personal(once) == (once, [])


@settings(max_examples=80, deadline=None)
@given(mixed)
def test_the_gate_lets_all_pass_that_would_be_found(text):
    if replace_personal(text)[1]:
        assert pl.Series([text]).str.contains(GATE)[0], text


@settings(max_examples=20, deadline=None)
@given(st.lists(mixed, min_size=2, max_size=6), st.integers(1, 5))
def test_batches_of_any_size_give_the_same(texts, split):
    column = pl.Series(texts)
    whole, counts = redact(column, config=CONFIG)
    halves = [redact(part, config=CONFIG) for part in (column[:split], column[split:])]
    assert whole.to_list() == [text for part, _ in halves for text in part]
    assert counts.equals(pl.concat([found for _, found in halves]))

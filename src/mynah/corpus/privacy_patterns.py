"""What personal data looks like: e-mail, phone, IP, payment card, IBAN. Pure functions.

Everything is bounded: a search looks at each character a fixed number of times, whatever the text.
"""

import re
import sys
import unicodedata
from collections.abc import Callable, Iterator
from ipaddress import AddressValueError, IPv6Address

__all__ = ["GATE", "has_luhn_digit", "has_valid_iban_check", "replace_personal"]

Found = tuple[int, int, str]

_GATE_SEP = r"[ ./()\-\x{a0}\x{2010}-\x{2015}]{0,3}"
GATE = "|".join(
    (
        # An address; a mention has nothing before its sign. No \w and \b: of Unicode they are slow.
        r"[0-9A-Za-z_+=~\-\x{80}-\x{10ffff}][@\x{ff20}][0-9A-Za-z\[\x{80}-\x{10ffff}]",
        r"\"[@\x{ff20}][0-9A-Za-z\-\x{80}-\x{10ffff}]+\.|\"@\[",
        r"[\[(] ?[aA][tT] ?[\])]",
        # Seven digits of any script, as phones, cards and IBANs group them.
        rf"\p{{Nd}}(?:{_GATE_SEP}\p{{Nd}}){{6}}",
        r"\p{Nd}\.\p{Nd}{1,3}\.\p{Nd}{1,3}\.\p{Nd}",
        r"[0-9a-fA-F]:[0-9a-fA-F]{0,4}:[0-9a-fA-F:]|[0-9a-fA-F]{3}::",
        r"(?:^|[^0-9A-Za-z])[a-zA-Z]{2}\p{Nd}{2}[ -]?[a-zA-Z\p{Nd}]{4}[ -]?[a-zA-Z\p{Nd}]{3}",
    )
)
"""In the syntax of Polars. A post that it does not find holds nothing that
``replace_personal`` would replace: one pass in Rust spares nearly all posts the work below."""

_SEP = "[ .\\-\u00a0\u2010-\u2015]"
_DOMAIN = r"(?:[^\W_](?:[\w-]{0,62})\.){1,8}(?:xn--[\w-]{2,59}|[^\W\d_]{2,24})(?![\w-]|\.\w)"
_LOCAL = r"(?<![\w.+%'@\uff20-])[\w.+%'&=~!#$*/?^`{|}-]{0,127}[\w+=~-]"
_EMAIL = (
    rf"""(?:{_LOCAL}|(?<!\w)"[^"@\n]{{1,64}}")"""
    rf"[@\uff20](?:{_DOMAIN}|\[[0-9A-Fa-f:.]{{2,45}}\])"
)
_SPELT_EMAIL = (
    rf"{_LOCAL} ?[\[(] ?at ?[\])] ?"
    r"(?:[\w-]{1,63} ?(?:\.|[\[(] ?dot ?[\])]) ?){1,4}[^\W\d_]{2,24}(?!\w)"
)
_IPV6 = r"(?<![\w:.])[0-9a-f]{1,4}:(?:[0-9a-f]{0,4}:){1,7}[0-9a-f]{0,4}(?![\w:])"
_IBAN_START = r"(?<![^\W_])[a-z]{2}[0-9]{2}(?=[ -]?[a-z0-9])"
_WRITTEN = re.compile(rf"(?P<email>{_EMAIL}|{_SPELT_EMAIL})|(?P<ip>{_IPV6})", re.I)
_IBAN = re.compile(_IBAN_START, re.I)
_NUMBER = re.compile(r"(?<![\w+])(?<!\d[.,:])(?<![^\W\d][/.-])[+(]?\(?\d")
"""Where a number may begin: not within a word, a decimal, a time or a path."""
_END = r"(?![-.]?\d)(?![^\W\d])"
_EXTENSION = r"(?: ?(?:ext|extension|x)\.? ?\d{1,6}(?!\w))?"
_OCTET = r"(?:25[0-5]|2[0-4]\d|1\d\d|[1-9]?\d)"
_IPV4 = re.compile(rf"{_OCTET}(?:\.{_OCTET}){{3}}(?!\.?\d|[^\W\d])")
_VERSION_BEFORE = re.compile(r"(?:\bv|\bver|version|release|build|firmware)[.:]? ?$", re.I)
_NOWHERE = re.compile(r"127\.|0\.0\.0\.0|255\.255\.255\.255")
"""This machine, none, and all: addresses of nobody."""
_CARD = re.compile(r"\d(?:[ -]?\d){12,18}")
_DATE = re.compile(r"\d{1,2}([ ./-])\d{1,2}\1(?:\d{4}|\d{2}(?!\1?\d))(?!\d)|\d{4}([./-])\d\d?\2\d")
_PHONES = tuple(
    re.compile(shape + _END + _EXTENSION, re.I)
    for shape in (
        # International: +49 30 1234567, +44 (0)20 7946 0958, 0049-30-1234567.
        rf"(?:\(?\+ ?|00{_SEP}?)[1-9](?:(?:{_SEP}|[ /]?[()] ?|/)?\d){{6,14}}",
        # North America: (555) 123-4567, 555.123.4567, 1-800-555-1234.
        rf"(?:1{_SEP}?)?\([2-9]\d\d\) ?\d{{3}}{_SEP}?\d{{4}}",
        rf"(?:1{_SEP})?[2-9]\d\d{_SEP}[2-9]\d\d{_SEP}\d{{4}}",
        # An area code in brackets: (030) 1234567, (11) 91234-5678, 8 (912) 345-67-89.
        rf"(?:[78]{_SEP}?)?\(0?\d{{2,4}}\) ?\d{{2,5}}(?:{_SEP}?\d{{2,5}}){{1,3}}",
        # National, after the trunk's zero: 020 7946 0958, 06.12.34.56.78, 030/1234567.
        rf"0[1-9]\d{{0,4}}(?:{_SEP}| ?/ ?)\d{{2,8}}(?:(?:{_SEP}| ?/ ?)\d{{2,8}}){{0,4}}",
        r"0[1-9]\d{8,9}",
        # India: 98765 43210. China: 138 1234 5678.
        rf"[6-9]\d{{4}}{_SEP}\d{{5}}",
        rf"1[3-9]\d{_SEP}\d{{4}}{_SEP}\d{{4}}",
    )
)
_CALLED = re.compile(rf"\d(?:{_SEP}?\d){{6,12}}{_END}{_EXTENSION}", re.I)
_LETTER = re.compile(r"[^\W\d_]")
_CALL_BEFORE = re.compile(
    r"(?<![\w\[])(?:tel|tele?phone?|phone|ph|mobile?|mob|cell|call|dial|text|txt|sms|fax|whatsapp"
    r"|contact|telefon[eo]?|tel\u00e9fono|t\u00e9l|handy|celular|m\u00f3vil|\u0442\u0435\u043b"
    r"|\u0647\u0627\u062a\u0641|\u062c\u0648\u0627\u0644|\u96fb\u8a71|\u7535\u8bdd|\u624b\u673a)"
    r"(?: (?:me|us|on|at|now|no|number|nr))?[^\w\[\]$\u20ac\u00a3%]{0,4}$",
    re.I,
)
_MONEY_BEFORE = re.compile(r"[$\u20ac\u00a3\u00a5\u20b9#] ?$")
_MIN_TRUNK_DIGITS = 9
"""A date has eight digits, and so have few numbers with a trunk's zero."""
_MIN_PHONE_DIGITS = 7
_CARD_DIGITS = range(13, 20)
_LOOK_BEHIND = 24
_MAX_PASSES = 16
"""Two are the rule; a chain of numbers that touch one another takes one for each."""
_NUMBER_KINDS = ("card", "ip", "phone")

_ASCII_DIGITS = {
    code: str(unicodedata.digit(chr(code)))
    for code in range(0x80, sys.maxunicode + 1)
    if unicodedata.category(chr(code)) == "Nd"
}
"""Decimal digits of every script, one character for one, so that places stay the same."""
_IBAN_TABLE = """
15:NO 16:BE 18:DK,FO,FI,GL,NL,SD,FK 19:MK,SI 20:AT,BA,EE,KZ,XK,LT,LU,MN
21:HR,LV,LI,CH 22:BH,BG,CR,GE,DE,IE,ME,RS,GB,VA 23:GI,IQ,IL,AE,TL,OM,SO
24:AD,CZ,MD,PK,RO,SA,SK,ES,SE,TN,VG,DZ 25:LY,PT,ST 26:IS,TR
27:FR,GR,IT,MC,MR,SM,BI,DJ 28:AL,AZ,BY,CY,DO,GT,HU,LB,NI,PL,SV,HN 29:BR,EG,PS,QA,UA
30:JO,KW,MU,YE 31:MT,SC 32:LC 33:RU
"""
_IBAN_LENGTHS = {
    country: int(length)
    for length, countries in (pair.split(":") for pair in _IBAN_TABLE.split())
    for country in countries.split(",")
}


def replace_personal(text: str) -> tuple[str, list[str]]:
    """Return the text with placeholders, as in ``[email]``, and the kind of each.

    What has letters goes first, so that no number takes half of it. What went may show that its
    neighbour is a number of its own: hence until nothing is found.
    """
    kinds: list[str] = []
    for _ in range(_MAX_PASSES):
        num_before = len(kinds)
        for find in (_find_written, _find_ibans, _find_numbers):
            text = _replace(text, find, kinds)
        if len(kinds) == num_before:
            break
    return text, kinds


def _replace(text: str, find: Callable[[str], Iterator[Found]], kinds: list[str]) -> str:
    plain = text if text.isascii() else text.translate(_ASCII_DIGITS)
    pieces: list[str] = []
    position = 0
    for start, end, kind in find(plain):
        pieces += [text[position:start], f"[{kind}]"]
        kinds.append(kind)
        position = end
    return "".join([*pieces, text[position:]]) if pieces else text


def _find_written(text: str) -> Iterator[Found]:
    for found in _WRITTEN.finditer(text):
        kind = str(found.lastgroup)
        if kind == "email" or _is_ipv6(found.group()):
            yield found.start(), found.end(), kind


def _find_ibans(text: str) -> Iterator[Found]:
    position = 0
    while (found := _IBAN.search(text, position)) is not None:
        end = _iban_end(text, found.start())
        if end is not None:
            yield found.start(), end, "iban"
        position = end or found.end()


def _find_numbers(text: str) -> Iterator[Found]:
    """Try every place where a number may begin; what overlaps is one, so that no part stays."""
    span: Found | None = None
    for begun in _NUMBER.finditer(text):
        start = begun.start()
        if (found := _number_at(text, start)) is None:
            continue
        end, kind = found
        if span is None or start >= span[1]:
            if span is not None:
                yield span
            span = start, end, kind
        elif end > span[1]:
            span = span[0], end, min(kind, span[2], key=_NUMBER_KINDS.index)
    if span is not None:
        yield span


def _number_at(text: str, start: int) -> tuple[int, str] | None:
    """Return the end and kind of the longest number that begins at ``start``."""
    ends = (_card_end(text, start), _ipv4_end(text, start), _phone_end(text, start))
    found = [(end, kind) for end, kind in zip(ends, _NUMBER_KINDS, strict=True) if end is not None]
    return max(found, key=lambda pair: pair[0], default=None)


def _is_ipv6(written: str) -> bool:
    groups = [group for group in written.split(":") if group]
    # "a::b" is a scope or a smiley; an address begins with a long group or has all eight.
    if len(groups) < 8 and ("::" not in written or len(groups[0]) < 3):
        return False
    if not any(character.isdigit() for character in written):
        return False
    try:
        return not IPv6Address(written).is_unspecified
    except AddressValueError:
        return False


def _iban_end(text: str, start: int) -> int | None:
    length = _IBAN_LENGTHS.get(text[start : start + 2].upper())
    if length is None:
        return None
    written = text[start : start + length * 2]
    letters: list[str] = []
    for index, character in enumerate(written):
        if character.isascii() and character.isalnum():
            letters.append(character)
        elif character not in " -" or written[index - 1] in " -":
            return None
        if len(letters) == length:
            is_end = not text[start + index + 1 : start + index + 2].isalnum()
            is_valid = is_end and has_valid_iban_check("".join(letters))
            return start + index + 1 if is_valid else None
    return None


def has_valid_iban_check(iban: str) -> bool:
    """Tell whether the check digits of an IBAN without blanks are right (ISO 13616, mod 97)."""
    turned = iban[4:] + iban[:4]
    return int("".join(str(int(character, 36)) for character in turned)) % 97 == 1


def _ipv4_end(text: str, start: int) -> int | None:
    address = _IPV4.match(text, start)
    if address is None or _NOWHERE.match(address.group()):
        return None
    before = text[max(0, start - _LOOK_BEHIND) : start]
    return None if _VERSION_BEFORE.search(before) else address.end()


def _phone_end(text: str, start: int) -> int | None:
    before = text[max(0, start - _LOOK_BEHIND) : start]
    if _MONEY_BEFORE.search(before) or _DATE.match(text, start):
        return None
    for shape in _PHONES:
        phone = shape.match(text, start)
        if phone is not None and _is_phone(phone.group()):
            return phone.end()
    if _LETTER.search(before) is None or _CALL_BEFORE.search(before) is None:
        return None
    called = _CALLED.match(text, start)
    return called.end() if called is not None else None


def _is_phone(written: str) -> bool:
    digits = sum(map(str.isdigit, written))
    if "+" in written or written.startswith("00"):
        return digits >= _MIN_PHONE_DIGITS
    if written[0] == "0":
        return digits >= _MIN_TRUNK_DIGITS
    return digits > _MIN_PHONE_DIGITS


def _card_end(text: str, start: int) -> int | None:
    """Return the end of the longest card number that ends with a group of digits."""
    if text[start] not in "23456" or (run := _CARD.match(text, start)) is None:
        return None
    places = [place for place in range(start, run.end()) if text[place].isdigit()]
    digits = [int(text[place]) for place in places]
    for num in range(len(digits), _CARD_DIGITS.start - 1, -1):
        end = places[num - 1] + 1
        if not text[end : end + 1].isdigit() and has_luhn_digit(digits[:num]):
            return end
    return None


def has_luhn_digit(digits: list[int]) -> bool:
    """Tell whether the last digit checks the others, as on every payment card (ISO 7812)."""
    doubled = [digit * 2 - 9 * (digit > 4) for digit in digits[-2::-2]]
    return (sum(digits[-1::-2]) + sum(doubled)) % 10 == 0

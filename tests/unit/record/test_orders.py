import base64
import hashlib
from dataclasses import replace
from typing import Any

import orjson
import pytest
from tests.fakes.record_logs import START_US, order_envelope, order_id, signing_key

from mynah.errors import RecordError
from mynah.record.envelopes import add_signature, seal
from mynah.record.lifting import check_lift
from mynah.record.notes import COSIGNER, SigningKey, TreeHead, cosign, sign_note
from mynah.record.orders import (
    Order,
    cosign_order,
    make_order,
    make_release,
    merge_orders,
    new_nonce,
    read_order,
    read_release,
)
from mynah.record.statements import PauseLifted, format_time
from mynah.workspace import canonical_json

HERON = signing_key("heron.example", 1)
STORK = signing_key("stork.example", 2)
CRANE = signing_key("crane.example", 3)
CLOCK = signing_key("clock.example/w1", 4)
CLOCK_2 = signing_key("clock.example/w2", 5)
DAY_US = 86_400_000_000
UNTIL_US = START_US + DAY_US


def terms(*parties: SigningKey, **more: Any) -> Order:
    order = Order(
        above_flop=str(21 * 10**24),
        begins=format_time(START_US),
        until=format_time(UNTIL_US),
        reason="until the audit is done",
        parties=tuple(str(party.verifier()) for party in parties or (HERON,)),
        nonce=new_nonce(),
    )
    return replace(order, **more)


def payload_of(envelope: bytes) -> dict[str, Any]:
    return orjson.loads(base64.b64decode(orjson.loads(envelope)["payload"]))


def resealed(envelope: bytes, **changes: Any) -> bytes:
    """The order with other fields, and a true signature of its author over them."""
    payload = payload_of(envelope)
    payload["predicate"] |= changes
    digest = hashlib.sha256(canonical_json(payload["predicate"])).hexdigest()
    payload["subject"][0]["digest"]["sha256"] = digest
    return seal(canonical_json(payload), HERON)


# Orders


def test_an_order_is_read_as_it_was_made():
    order = terms(HERON, STORK)
    envelope = make_order(order, HERON)
    signed = read_order(envelope)
    assert (signed.order, signed.id) == (order, order_id(envelope))
    assert signed.signers == (HERON.verifier(),)
    assert signed.missing == (STORK.verifier(),)
    assert (signed.order.above, signed.order.until_us) == (21 * 10**24, UNTIL_US)


def test_an_order_of_the_format_s_other_writer_is_read():
    time, until = format_time(START_US), format_time(UNTIL_US)
    envelope = order_envelope([HERON, STORK], above=5, begins=time, until=until)
    assert len(read_order(envelope).signers) == 2


def test_an_order_covers_more_than_its_number_and_what_is_unknown():
    order = terms(above_flop="100")
    assert [order.covers(total) for total in (0, 100, 101, None)] == [False, False, True, True]


def test_every_copy_of_an_order_has_one_id_however_many_signed_it():
    first = make_order(terms(HERON, STORK, CRANE), HERON)
    by_stork, by_crane = cosign_order(first, STORK), cosign_order(first, CRANE)
    merged = merge_orders(by_stork, by_crane)
    assert len({read_order(copy).id for copy in (first, by_stork, by_crane, merged)}) == 1
    assert [key.name for key in read_order(merged).signers] == [
        *("heron.example", "stork.example", "crane.example")
    ]
    assert cosign_order(merged, STORK) == merged
    assert merge_orders(merged, first) == merged


def test_two_orders_of_equal_terms_are_two():
    assert order_id(make_order(terms(), HERON)) != order_id(make_order(terms(), HERON))


def test_two_orders_are_not_merged():
    with pytest.raises(RecordError, match="two orders"):
        merge_orders(make_order(terms(), HERON), make_order(terms(), HERON))


def test_only_a_party_cosigns():
    with pytest.raises(RecordError, match="does not name crane"):
        cosign_order(make_order(terms(HERON, STORK), HERON), CRANE)


def test_the_author_is_the_first_party():
    with pytest.raises(RecordError, match="first party"):
        make_order(terms(STORK, HERON), HERON)


def test_a_signature_of_who_is_no_party_is_refused():
    envelope = add_signature(make_order(terms(HERON, STORK), HERON), CRANE)
    with pytest.raises(RecordError, match=r"crane\.example.*no party"):
        read_order(envelope)


def test_an_order_that_its_author_has_not_signed_is_refused():
    envelope = orjson.loads(cosign_order(make_order(terms(HERON, STORK), HERON), STORK))
    envelope["signatures"] = envelope["signatures"][1:]
    with pytest.raises(RecordError, match=r"not signed by its author, heron\.example"):
        read_order(canonical_json(envelope))


def test_a_false_signature_is_refused():
    envelope = orjson.loads(make_order(terms(), HERON))
    other = orjson.loads(make_order(terms(), HERON))
    envelope["signatures"] = other["signatures"]
    with pytest.raises(RecordError, match="signature"):
        read_order(canonical_json(envelope))


BAD_TERMS = [
    ({"above_flop": "021"}, "above_flop"),
    ({"above_flop": "-1"}, "above_flop"),
    ({"above_flop": "2.1e25"}, "above_flop"),
    ({"above_flop": "1" * 41}, "above_flop"),
    ({"above_flop": 5}, "above_flop"),
    ({"begins": "2026-01-01"}, "begins"),
    ({"until": "2026-13-01T00:00:00.000000Z"}, "no time"),
    ({"until": format_time(START_US)}, "not after it begins"),
    ({"reason": "a\nb"}, "reason"),
    ({"reason": "x" * 501}, "reason"),
    ({"quorum": 1}, "1 of 0 timekeepers"),
    ({"quorum": -1}, "quorum"),
    ({"quorum": True}, "quorum"),
    ({"parties": []}, "no party"),
    ({"parties": [str(HERON.verifier())] * 2}, "twice"),
    ({"parties": [f" {HERON.verifier()}"]}, "kind it must be"),
    ({"parties": [str(HERON.verifier(COSIGNER))]}, "kind it must be"),
    ({"parties": ["heron.example"]}, "vkey"),
    ({"timekeepers": [str(CLOCK.verifier(COSIGNER))]}, "quorum is 0"),
    ({"timekeepers": [str(CLOCK.verifier())], "quorum": 1}, "kind it must be"),
    ({"timekeepers": [str(CLOCK.verifier(COSIGNER))] * 2, "quorum": 1}, "twice"),
    ({"nonce": "00"}, "nonce"),
    ({"weather": "fair"}, "weather"),
]


@pytest.mark.parametrize(("changes", "fault"), BAD_TERMS)
def test_an_order_of_wrong_terms_is_refused_though_it_is_signed(
    changes: dict[str, Any], fault: str
):
    with pytest.raises(RecordError, match=fault):
        read_order(resealed(make_order(terms(), HERON), **changes))


def test_what_is_refused_when_read_is_refused_when_made():
    for changes in ({"above_flop": "1e5"}, {"until": format_time(0)}, {"reason": "\ud800"}):
        with pytest.raises(RecordError):
            make_order(terms(**changes), HERON)


def test_an_order_of_too_many_parties_is_refused():
    many = tuple(str(signing_key(f"p{n}.example", n + 1).verifier()) for n in range(33))
    with pytest.raises(RecordError, match="more than 32"):
        make_order(terms(parties=many), signing_key("p0.example", 1))


def test_an_order_of_32_parties_and_timekeepers_fits_in_a_leaf():
    keys = [signing_key(f"{n:02d}{'x' * 180}.example", n + 1) for n in range(32)]
    clocks = tuple(str(key.verifier(COSIGNER)) for key in keys)
    order = terms(*keys, timekeepers=clocks, quorum=32, reason="\u00e9" * 500)
    envelope = make_order(order, keys[0])
    for key in keys[1:]:
        envelope = cosign_order(envelope, key)
    assert len(base64.b64encode(envelope)) + 1000 < 65_535


@pytest.mark.parametrize("key", ["predicateType", "subject", "_type"])
def test_another_statement_is_no_order(key: str):
    payload = payload_of(make_order(terms(), HERON)) | {key: "x"}
    with pytest.raises(RecordError, match="order"):
        read_order(seal(canonical_json(payload), HERON))


def test_an_order_in_another_form_is_refused():
    envelope = make_order(terms(), HERON)
    with pytest.raises(RecordError, match="canonical"):
        read_order(seal(orjson.dumps(payload_of(envelope), option=orjson.OPT_INDENT_2), HERON))
    with pytest.raises(RecordError, match="canonical"):
        read_order(envelope + b"\n")
    for junk in (b"", b"{}", b"[]", b'{"payload":1}', seal(b"null", HERON), seal(b"{", HERON)):
        with pytest.raises(RecordError):
            read_order(junk)


# How an order ends


def lifted(order: str, *, time_us: int = START_US, **more: Any) -> PauseLifted:
    return PauseLifted(order=order, time=format_time(time_us), **{"basis": "until", **more})


def test_all_who_signed_release_an_order():
    signed = read_order(cosign_order(make_order(terms(HERON, STORK, CRANE), HERON), STORK))
    release = make_release(signed, "the audit is done", HERON)
    body = lifted(signed.id, basis="parties", release=orjson.loads(release))
    with pytest.raises(RecordError, match=r"not signed by stork\.example\n"):
        check_lift(signed, body, order_index=0, origin="")
    release = add_signature(release, STORK)
    found = read_release(release, signed)
    assert (found.order, found.reason, len(found.signers)) == (signed.id, "the audit is done", 2)
    body = replace(body, release=orjson.loads(release))
    check_lift(signed, body, order_index=0, origin="")


def test_a_release_is_of_one_order_and_of_its_parties():
    signed, other = (read_order(make_order(terms(), HERON)) for _ in range(2))
    release = make_release(other, "", HERON)
    with pytest.raises(RecordError, match="release is of the order"):
        read_release(release, signed)
    with pytest.raises(RecordError, match="no party"):
        make_release(signed, "", STORK)
    with pytest.raises(RecordError, match="no party"):
        read_release(add_signature(make_release(signed, "", HERON), STORK), signed)
    with pytest.raises(RecordError, match="not a release"):
        read_release(signed.envelope, signed)
    with pytest.raises(RecordError, match="reason"):
        make_release(signed, "two\nlines", HERON)


def test_without_timekeepers_the_leaf_s_time_decides():
    signed = read_order(make_order(terms(), HERON))
    with pytest.raises(RecordError, match="stands until"):
        check_lift(signed, lifted(signed.id, time_us=UNTIL_US - 1), order_index=0, origin="")
    check_lift(signed, lifted(signed.id, time_us=UNTIL_US), order_index=0, origin="")


def note_of(times_s: dict[SigningKey, int], *, size: int = 8, origin: str = "o.example/log") -> str:
    head = TreeHead(origin, size, b"r" * 32)
    lines = [cosign(head.text, key, time_s=time_s) for key, time_s in times_s.items()]
    note = sign_note(head.text, SigningKey(origin, HERON.private)).with_signatures(lines)
    return note.encode().decode()


def timed_order(quorum: int = 2):
    keepers = tuple(str(key.verifier(COSIGNER)) for key in (CLOCK, CLOCK_2))
    return read_order(make_order(terms(timekeepers=keepers, quorum=quorum), HERON))


def test_timekeepers_decide_where_there_are_any():
    signed, late = timed_order(), UNTIL_US // 10**6
    for times, fault in (
        ({}, r"0 of 2 timekeepers.*w1 \(nothing\), clock\.example/w2 \(nothing\)"),
        ({CLOCK: late}, r"1 of 2 timekeepers.*w2 \(nothing\)"),
        ({CLOCK: late, CLOCK_2: late - 1}, r"1 of 2 .*w2 \(2026-01-01T23:59:59.000000Z\)"),
        ({CLOCK: late, STORK: late}, "1 of 2"),
    ):
        # However late the local clock is.
        body = lifted(signed.id, time_us=UNTIL_US + DAY_US, evidence=note_of(times))
        with pytest.raises(RecordError, match=fault):
            check_lift(signed, body, order_index=0, origin="")
    body = lifted(signed.id, evidence=note_of({CLOCK: late, CLOCK_2: late}))
    check_lift(signed, body, order_index=7, origin="o.example/log")


def test_a_tree_head_from_before_the_order_or_of_another_log_is_no_evidence():
    signed, late = timed_order(1), UNTIL_US // 10**6
    body = lifted(signed.id, evidence=note_of({CLOCK: late}))
    with pytest.raises(RecordError, match="8 leaves, before the order"):
        check_lift(signed, body, order_index=8, origin="")
    with pytest.raises(RecordError, match=r"tree head of o\.example/log, not of p\.example"):
        check_lift(signed, body, order_index=0, origin="p.example/log")


def test_a_false_cosignature_is_named():
    signed = timed_order(1)
    note = note_of({CLOCK: UNTIL_US // 10**6}).replace("\n8\n", "\n9\n")
    with pytest.raises(RecordError, match=r"cosignature of clock\.example/w1"):
        check_lift(signed, lifted(signed.id, evidence=note), order_index=0, origin="")


def test_a_lift_bears_what_its_basis_needs_and_nothing_else():
    own, timed = read_order(make_order(terms(), HERON)), timed_order()
    release = orjson.loads(make_release(own, "", HERON))
    for signed, body in (
        (own, lifted(own.id, time_us=UNTIL_US, release=release)),
        (own, lifted(own.id, time_us=UNTIL_US, evidence=note_of({}))),
        (own, lifted(own.id, basis="parties", release=release, evidence=note_of({}))),
        (own, lifted(own.id, basis="parties")),
        (own, lifted(timed.id, time_us=UNTIL_US)),
        (timed, lifted(timed.id, time_us=UNTIL_US)),
    ):
        with pytest.raises(RecordError):
            check_lift(signed, body, order_index=0, origin="")

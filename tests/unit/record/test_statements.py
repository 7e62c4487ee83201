import json
import time
from dataclasses import fields, replace

import pytest

from mynah.errors import RecordError
from mynah.record.statements import (
    KINDS,
    AuditDone,
    Body,
    CheckpointSaved,
    LogFollowed,
    ModelServed,
    ModelWithdrawn,
    ParentModel,
    Paused,
    PauseLifted,
    PauseOrdered,
    PostForgotten,
    Progress,
    Resumed,
    RunDeclared,
    ShareCut,
    ShareGranted,
    Statement,
    format_time,
    parse_time,
)

TIME = "2026-01-31T12:00:00.000001Z"
A, B = "a" * 64, "b" * 64

EVERY_KIND: list[Body] = [
    RunDeclared(
        time=TIME,
        run="r",
        model="m",
        recipe=A,
        corpus=B,
        objective="pretrain",
        parents=(ParentModel(name="p", digest=A, flop="", basis="nobody knows"),),
        planned_flop="9" * 40,
        planned_basis="recipe",
        pool="lab",
        device="cpu",
        num_devices=2,
        peak_flop_per_s="1",
    ),
    Progress(time=TIME, run="r", recipe=A, step=1, flop="0", device_s="0.000", tokens=0),
    CheckpointSaved(
        time=TIME, run="r", step=1, name="m", digest=A, num_files=1, num_bytes=2, lineage_flop=""
    ),
    PauseOrdered(time=TIME, order=A, envelope={"payload": "x", "signatures": [{"sig": "y"}]}),
    PauseLifted(time=TIME, order=A, basis="until", evidence="note"),
    Paused(time=TIME, run="r", order=A, step=1, flop="2", checkpoint=B),
    Resumed(time=TIME, run="r", step=1, checkpoint=B),
    LogFollowed(time=TIME, log="vkey", key=A, is_obeyed=True),
    ShareGranted(time=TIME, grant=A, recipient="x", purpose="", scope=B, until=TIME),
    ShareCut(time=TIME, grant=A, reason="over"),
    PostForgotten(time=TIME, posts=A, num_posts=1, snapshot=""),
    AuditDone(time=TIME, model="m", digest=A, report=B, suite="s", is_passed=False),
    ModelServed(time=TIME, model="m", digest=A),
    ModelWithdrawn(time=TIME, model="m", digest=A, reason="\u00fc \U0001f426 \x7f"),
]
CUT = EVERY_KIND[9]
FORGOTTEN = EVERY_KIND[10]


def test_every_kind_is_tried_here() -> None:
    assert {type(body) for body in EVERY_KIND} == set(KINDS.values())


@pytest.mark.parametrize("body", EVERY_KIND, ids=lambda body: body.kind)
def test_what_is_encoded_can_be_decoded(body: Body) -> None:
    payload = Statement(body).encode()
    assert Statement.decode(payload) == Statement(body)
    raw = json.loads(payload)
    assert raw["_type"] == "https://in-toto.io/Statement/v1"
    assert raw["predicateType"] == f"https://mynah.example/record/{body.kind}/v1"
    name, digest = body.subject()
    assert raw["subject"] == [{"name": name, "digest": {"sha256": digest}}]
    assert set(raw["predicate"]) == {each.name for each in fields(body)}
    compact = json.dumps(raw, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    assert compact.encode() == payload


@pytest.mark.parametrize(
    ("body", "changes"),
    [
        (EVERY_KIND[1], {"flop": "01"}),
        (EVERY_KIND[1], {"flop": "1e9"}),
        (EVERY_KIND[1], {"flop": "-1"}),
        (EVERY_KIND[1], {"flop": "9" * 41}),
        (EVERY_KIND[1], {"flop": 7}),
        (EVERY_KIND[1], {"flop": "\u0661"}),
        (EVERY_KIND[1], {"device_s": "1"}),
        (EVERY_KIND[1], {"device_s": "1.0000"}),
        (EVERY_KIND[1], {"step": -1}),
        (EVERY_KIND[1], {"step": 1 << 53}),
        (EVERY_KIND[1], {"step": 1.0}),
        (EVERY_KIND[1], {"step": True}),
        (EVERY_KIND[1], {"step": "1"}),
        (EVERY_KIND[1], {"run": ""}),
        (EVERY_KIND[1], {"run": "a\nb"}),
        (EVERY_KIND[1], {"run": "x" * 201}),
        (EVERY_KIND[1], {"recipe": "A" * 64}),
        (EVERY_KIND[1], {"recipe": A + "\n"}),
        (EVERY_KIND[1], {"is_final": 1}),
        (EVERY_KIND[1], {"time": "2026-01-31T12:00:00Z"}),
        (EVERY_KIND[1], {"time": "\u0662026-01-31T12:00:00.000000Z"}),
        (EVERY_KIND[8], {"until": "2026-02-30T12:00:00.000000Z"}),
        (EVERY_KIND[8], {"until": ""}),
        (CUT, {"reason": "x" * 501}),
        (CUT, {"reason": "a\x00b"}),
        (CUT, {"reason": "\ud800"}),
        (EVERY_KIND[4], {"basis": "because"}),
        (EVERY_KIND[3], {"envelope": {"number": 1 << 64}}),
        (EVERY_KIND[3], {"envelope": {"number": float("nan")}}),
        (EVERY_KIND[3], {"envelope": {"number": float("inf")}}),
        (EVERY_KIND[3], {"envelope": {"text": "\ud800"}}),
        (EVERY_KIND[4], {"release": {"number": -(1 << 64)}}),
    ],
)
def test_what_a_kind_does_not_allow_is_refused(body: Body, changes: dict[str, object]) -> None:
    with pytest.raises(RecordError, match=f"a {body.kind} statement|is no time"):
        Statement(replace(body, **changes)).encode()


def changed(old: bytes, new: bytes) -> bytes:
    payload = Statement(FORGOTTEN).encode()
    assert old in payload
    return payload.replace(old, new, 1)


@pytest.mark.parametrize(
    ("payload", "told"),
    [
        (b"", "holds no JSON"),
        (b"{", "holds no JSON"),
        (b"[" * 9999, "holds no JSON"),
        (b"[]", "which is none of ours"),
        (b"null", "which is none of ours"),
        (b"{}", "which is none of ours"),
        (changed(b"post-forgotten/v1", b"post-forgotten/v2"), "which is none of ours"),
        (changed(b"post-forgotten/v1", b"/v1"), "which is none of ours"),
        (changed(b"mynah.example", b"other.example"), "which is none of ours"),
        (changed(b'"num_posts":1', b'"num_posts":01'), "holds no JSON"),
        (changed(b'"num_posts":1', b'"num_posts":1.0'), "cannot say num_posts"),
        (changed(b'"num_posts":1', b'"num_posts":1,"more":2'), "cannot say more"),
        (changed(b'"num_posts":1,', b""), "cannot say num_posts"),
        (changed(b'"num_posts":1', b'"num_posts": 1'), "not in its canonical form"),
        (changed(b'"num_posts":1', b'"num_posts":2,"num_posts":1'), "not in its canonical form"),
        (changed(b'"snapshot":""', b'"snapshot":"\\u0061"'), "not in its canonical form"),
        (changed(b'"subject"', b'"other":1,"subject"'), "not in its canonical form"),
        (changed(b'"name":"posts"', b'"name":"other"'), "not in its canonical form"),
        (changed(b"Statement/v1", b"Statement/v2"), "not in its canonical form"),
        (Statement(FORGOTTEN).encode() + b"\n", "not in its canonical form"),
    ],
)
def test_the_fault_of_a_statement_is_named(payload: bytes, told: str) -> None:
    with pytest.raises(RecordError, match=told):
        Statement.decode(payload)


def test_times_are_text_that_sorts() -> None:
    for time_us in (0, 1, 999_999, 1_769_860_800_000_001, time.time_ns() // 1000):
        assert parse_time(format_time(time_us)) == time_us
    assert format_time(1_769_860_800_000_001) == TIME
    assert format_time(999_999) < format_time(1_000_000) < format_time(10**15)


@pytest.mark.parametrize(
    "text",
    [
        *("", "now", "2026-01-31", "2026-01-31T12:00:00Z", "2026-01-31T12:00:00.000000"),
        *("2026-02-30T12:00:00.000000Z", "2026-01-31T24:00:00.000000Z"),
        *(f"{TIME}\n", "2026-01-31T12:00:61.000000Z", "\u0662026-01-31T12:00:00.000000Z"),
    ],
)
def test_what_is_no_time_is_refused(text: str) -> None:
    with pytest.raises(RecordError, match="is no time"):
        parse_time(text)

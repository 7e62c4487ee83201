"""The verifier's table of fields and the writer's dataclasses say the same, field by field."""

import base64
from dataclasses import fields, replace
from typing import Any

import orjson
import pytest
from tests.fakes.record_logs import LogBuilder, story

from mynah.errors import RecordError
from mynah.record.statements import KINDS, ParentModel, Statement
from mynah.record.verify.dsse import read_statement
from mynah.record.verify.fields import FIELDS, PARENT, SUBJECTS, first_fault
from mynah.record.verify.leaves import read_leaf
from mynah.workspace import canonical_json

A = "a" * 64
TIME = "2026-01-31T12:00:00.000000Z"
VALUES: list[Any] = [
    *(
        "",
        "x",
        "x" * 200,
        "x" * 201,
        "x" * 500,
        "x" * 501,
        "a\nb",
        "a\x1fb",
        "\x7f",
        "\u00e9" * 200,
    ),
    *("x" * 40_000, "x" * 40_001, 'quote " and \\', "\U0001f426"),
    *("0", "00", "01", "1", "-1", "+1", "1e3", "1.5", " 1", "1 ", "1\n", "9" * 40, "1" + "0" * 40),
    *("0.000", "1.000", "01.000", "1.00", "1.0000", "9" * 16 + ".999", "1" + "0" * 16 + ".000"),
    *(A, A[:-1], A + "a", A.upper(), A + "\n", "g" * 64),
    *(TIME, TIME[:-1], TIME + "\n", TIME.replace("T", " "), "2026-01-31T12:00:00Z"),
    *("until", "parties", "until|parties"),
    *(0, 1, -1, (1 << 53) - 1, 1 << 53, 1 << 63, True, False, None, 1.0, 1.5),
    *([], {}, ["x"], {"a": 1}, [{}]),
    [{"name": "n", "digest": A, "flop": "", "basis": ""}],
    [{"name": "n", "digest": A, "flop": "5", "basis": "record"}] * 2,
    [{"name": "n", "digest": A, "flop": "05", "basis": "b"}],
    [{"name": "", "digest": A, "flop": "5", "basis": "b"}],
    [{"name": "n", "digest": A, "flop": "5", "basis": "b", "more": 1}],
    [{"name": "n", "digest": A, "flop": "5"}],
]


@pytest.fixture(scope="module")
def log() -> LogBuilder:
    return story(40)


@pytest.fixture(scope="module")
def examples(log: LogBuilder) -> dict[str, dict[str, Any]]:
    public = log.key.verifier().public
    return {leaf.kind: leaf.body for leaf in (read_leaf(data, public) for data in log.leaves)}


def is_written(kind: str, predicate: dict[str, Any]) -> bool:
    """Whether the writer's own reading takes it, in the one canonical form."""
    name, digest = SUBJECTS[kind]
    try:
        subject = {"name": name.format_map(predicate), "digest": {"sha256": predicate.get(digest)}}
    except KeyError:
        return False
    payload = canonical_json(
        {
            "_type": "https://in-toto.io/Statement/v1",
            "predicate": predicate,
            "predicateType": f"https://mynah.example/record/{kind}/v1",
            "subject": [subject],
        }
    )
    try:
        Statement.decode(payload)
    except RecordError:
        return False
    return True


def test_every_kind_is_in_both_and_in_the_story(examples):
    assert set(FIELDS) == set(SUBJECTS) == set(KINDS) == set(examples)


@pytest.mark.parametrize("kind", sorted(KINDS))
def test_the_same_fields(kind):
    assert set(FIELDS[kind]) == {field.name for field in fields(KINDS[kind])}


@pytest.mark.parametrize("kind", sorted(KINDS))
def test_each_field_takes_the_same_values(kind, examples):
    body = examples[kind]
    assert not first_fault(body, FIELDS[kind])
    assert is_written(kind, body)
    for name in FIELDS[kind]:
        for value in VALUES:
            changed = {**body, name: value}
            if name == "time" and value == "":
                continue  # a body without a time is what the writer of the log fills in
            read = not first_fault(changed, FIELDS[kind])
            assert read == is_written(kind, changed), (name, value)
        missing = {field: value for field, value in body.items() if field != name}
        assert first_fault(missing, FIELDS[kind]) == name
    assert first_fault({**body, "more": 1}, FIELDS[kind]) == "more"


def test_parents_have_the_same_fields():
    assert set(PARENT) == {field.name for field in fields(ParentModel)}


@pytest.mark.parametrize(
    "time",
    [
        "2026-02-30T12:00:00.000000Z",
        "2026-01-31T24:00:00.000001Z",
        "\u0662026-01-31T12:00:00.000000Z",
    ],
)
def test_a_moment_that_is_none_is_refused(time, examples):
    assert first_fault({**examples["progress"], "time": time}, FIELDS["progress"]) == "time"


def test_the_subject_is_the_one_the_writer_names(log):
    for data in log.leaves:
        payload = base64.b64decode(orjson.loads(data)["payload"])
        kind, body, name, digest = read_statement(payload)
        written = Statement.decode(payload).body
        assert written.subject() == (name, digest)
        assert replace(written).kind == kind
        assert body["time"] == written.time

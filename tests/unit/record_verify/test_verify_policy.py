import itertools

import pytest
from tests.fakes.record_logs import signing_key

from mynah.errors import ConfigError
from mynah.record.notes import COSIGNER
from mynah.record.verify import Policy

LOG = str(signing_key("heron.example/log", 1).verifier())
W = [str(signing_key(f"w{n}.example", 10 + n).verifier(COSIGNER)) for n in range(6)]

NESTED = f"""
# two groups
log {LOG} https://heron.example/log
witness X1 {W[0]}
\twitness X2 {W[1]} https://w1.example/
witness X3 {W[2]}
group X 2 X1 X2 X3

witness Y1 {W[3]}
witness Y2 {W[4]}
group Y any Y1 Y2
group both all X Y
quorum both
"""


def test_logs_witnesses_and_addresses():
    policy = Policy.parse(NESTED)
    assert [str(key) for key in policy.logs] == [LOG]
    assert {name: str(key) for name, key in policy.witnesses.items()} == dict(
        zip(["X1", "X2", "X3", "Y1", "Y2"], W, strict=False)
    )
    assert policy.urls == {LOG: "https://heron.example/log", W[1]: "https://w1.example/"}


def test_nested_groups_count_as_they_say():
    policy = Policy.parse(NESTED)
    names = ["X1", "X2", "X3", "Y1", "Y2"]
    for count in range(6):
        for chosen in itertools.combinations(names, count):
            num_x = sum(name[0] == "X" for name in chosen)
            assert policy.is_quorum(chosen) == (num_x >= 2 and num_x < count)


@pytest.mark.parametrize(
    ("quorum", "names", "is_enough"),
    [("none", [], True), ("A", [], False), ("A", ["A"], True), ("A", ["B", "none"], False)],
)
def test_a_quorum_of_one_or_none(quorum, names, is_enough):
    policy = Policy.parse(f"witness A {W[0]}\nwitness B {W[1]}\nquorum {quorum}")
    assert policy.is_quorum(names) is is_enough


def test_a_group_is_not_met_by_its_own_name():
    policy = Policy.parse(f"witness A {W[0]}\ngroup G all A\nquorum G\n")
    assert not policy.is_quorum(["G"])


@pytest.mark.parametrize(
    ("lines", "number", "says"),
    [
        (["watcher x"], 1, "no log, witness"),
        (["quorum none", "quorum none"], 2, "second quorum"),
        (["quorum A"], 1, "not defined above"),
        (["quorum none none"], 1, "one name"),
        (["", "log"], 2, "a log has"),
        ([f"log {LOG} a b"], 1, "a log has"),
        ([f"log {LOG}", f"log {LOG}"], 2, "already"),
        ([f"log {LOG[:-4]}"], 1, "base64|kind|id"),
        ([f"log {W[0]}"], 1, "not one that signs"),
        ([f"witness A {LOG}"], 1, "not one that cosigns"),
        ([f"witness A {W[0]}", f"witness B {W[0]}"], 2, "already"),
        ([f"witness A {W[0]}", f"witness A {W[1]}"], 2, "taken"),
        ([f"witness none {W[0]}"], 1, "taken"),
        ([f"witness {W[0]}"], 1, "a witness has"),
        ([f"witness A {W[0]}", "group G 2 A"], 2, "2 of 1"),
        ([f"witness A {W[0]}", "group G 0 A"], 2, "not any, all"),
        ([f"witness A {W[0]}", "group G 01 A"], 2, "not any, all"),
        ([f"witness A {W[0]}", "group G \u0661 A"], 2, "not any, all"),
        ([f"witness A {W[0]}", "group G all"], 2, "a group has"),
        ([f"witness A {W[0]}", "group G all A A"], 2, "member already"),
        ([f"witness A {W[0]}", "group G all B"], 2, "not defined above"),
        ([f"witness A {W[0]}", "group G all A", "group H all A"], 3, "member already"),
        (["group G all G"], 1, "not defined above"),
        ([f"witness A {W[0]}", "group A all A"], 2, "taken"),
        (["quorum\x0bnone"], 1, "control character"),
        (["quorum none\r"], 1, "control character"),
    ],
)
def test_each_fault_is_named_with_its_line(lines, number, says):
    with pytest.raises(ConfigError, match=f"line {number} of the policy: .*({says})"):
        Policy.parse("\n".join(lines))


def test_a_policy_without_quorum_is_none():
    with pytest.raises(ConfigError, match="no line 'quorum NAME'"):
        Policy.parse(f"log {LOG}\n")

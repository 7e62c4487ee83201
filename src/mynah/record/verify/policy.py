"""Whom a verifier trusts: logs, witnesses and how many of them (C2SP tlog-policy).

Reads one text file; a fault is named with its line. Pure.
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from mynah.errors import ConfigError, RecordError
from mynah.record.verify.notes import COSIGNER, SIGNER, Key

__all__ = ["Policy"]

MAX_LINES = 10_000
_HINT = "the format is C2SP tlog-policy: lines of log, witness, group and one of quorum"


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """A tree head is good if one of the logs signed it and the quorum cosigned it."""

    logs: tuple[Key, ...]
    """Empty: any log that is known otherwise."""
    witnesses: Mapping[str, Key]
    """By the names that the policy gives them."""
    urls: Mapping[str, str]
    """Addresses that the policy gives, by the vkey of the log or witness."""
    groups: Mapping[str, tuple[int, tuple[str, ...]]]
    """How many of which members a group needs."""
    quorum: str
    """Name of a witness or group, or ``none``."""

    @classmethod
    def parse(cls, text: str) -> "Policy":
        """Read a policy file.

        Raises:
            ConfigError: Names the line and what is wrong with it.
        """
        reader = _Reader()
        for number, line in enumerate(text.split("\n"), start=1):
            if number > MAX_LINES:
                raise _fault(number, f"more than {MAX_LINES} lines")
            if bad := re.search(r"[\x00-\x08\x0b-\x1f\x7f]", line):
                raise _fault(number, f"the control character {bad[0]!r}")
            words = re.split(r"[ \t]+", line.strip(" \t"))
            if words[0] and not words[0].startswith("#"):
                reader.read(number, words)
        if not reader.quorum:
            raise ConfigError("the policy has no line 'quorum NAME'", hint=_HINT)
        return cls(
            logs=tuple(reader.logs),
            witnesses=reader.witnesses,
            urls=reader.urls,
            groups=reader.groups,
            quorum=reader.quorum,
        )

    def is_quorum(self, names: Iterable[str]) -> bool:
        """Whether these witnesses (names of the policy) are enough."""
        found = set(names) & set(self.witnesses)
        for name, (needed, members) in self.groups.items():  # members come before their group
            if sum(member in found for member in members) >= needed:
                found.add(name)
        return self.quorum == "none" or self.quorum in found


class _Reader:
    """What the lines so far have said."""

    def __init__(self) -> None:
        self.logs: list[Key] = []
        self.witnesses: dict[str, Key] = {}
        self.urls: dict[str, str] = {}
        self.groups: dict[str, tuple[int, tuple[str, ...]]] = {}
        self.members: set[str] = set()
        self.quorum = ""

    def read(self, number: int, words: list[str]) -> None:
        kinds = {
            "log": self._log,
            "witness": self._witness,
            "group": self._group,
            "quorum": self._quorum,
        }
        if words[0] not in kinds:
            raise _fault(number, f"{words[0][:40]!r} is no log, witness, group or quorum")
        kinds[words[0]](number, words[1:])

    def _key(self, number: int, vkey: str, kind: int, others: Iterable[Key]) -> Key:
        try:
            key = Key.parse(vkey)
        except RecordError as error:
            raise _fault(number, error.message) from error
        if key.kind != kind:
            wanted = "signs tree heads (type 1)" if kind == SIGNER else "cosigns (type 4)"
            raise _fault(number, f"the key of {key.name} is not one that {wanted}")
        if any(other.public == key.public for other in others):
            raise _fault(number, f"the key of {key.name} stands in the policy already")
        return key

    def _log(self, number: int, words: list[str]) -> None:
        if len(words) not in (1, 2):
            raise _fault(number, "a log has a vkey and at most an address")
        key = self._key(number, words[0], SIGNER, self.logs)
        self.logs.append(key)
        self.urls |= {str(key): url for url in words[1:]}

    def _witness(self, number: int, words: list[str]) -> None:
        if len(words) not in (2, 3):
            raise _fault(number, "a witness has a name, a vkey and at most an address")
        key = self._key(number, words[1], COSIGNER, self.witnesses.values())
        self.witnesses[self._new_name(number, words[0])] = key
        self.urls |= {str(key): url for url in words[2:]}

    def _group(self, number: int, words: list[str]) -> None:
        if len(words) < 3:
            raise _fault(number, "a group has a name, any, all or a number, and members")
        name, needed, *members = words
        for member in members:
            if member not in self.witnesses and member not in self.groups:
                raise _fault(number, f"{member[:60]!r} is not defined above")
            if member in self.members:
                raise _fault(number, f"{member[:60]!r} is a member already")
            self.members.add(member)
        counts = {"any": 1, "all": len(members)}
        if needed not in counts and not re.fullmatch(r"[1-9][0-9]{0,5}", needed):
            raise _fault(number, f"{needed[:20]!r} is not any, all or a number")
        count = counts[needed] if needed in counts else int(needed)
        if count > len(members):
            raise _fault(number, f"{count} of {len(members)} members cannot be")
        self.groups[self._new_name(number, name)] = (count, tuple(members))

    def _quorum(self, number: int, words: list[str]) -> None:
        if self.quorum:
            raise _fault(number, "a second quorum")
        if len(words) != 1:
            raise _fault(number, "the quorum is one name")
        if words[0] not in ("none", *self.witnesses, *self.groups):
            raise _fault(number, f"{words[0][:60]!r} is not defined above")
        self.quorum = words[0]

    def _new_name(self, number: int, name: str) -> str:
        if name == "none" or name in self.witnesses or name in self.groups:
            raise _fault(number, f"the name {name[:60]!r} is taken")
        return name


def _fault(number: int, message: str) -> ConfigError:
    return ConfigError(f"line {number} of the policy: {message}", hint=_HINT)

"""Parties and timekeepers as people name them, and where timekeepers are asked.

Reads the workspace's record; writes ``record/policy``, where the addresses of witnesses stand.
"""

import re
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import typer

from mynah.cli.record_arguments import vkeys_of
from mynah.errors import ConfigError
from mynah.record.notes import COSIGNER, SIGNER, VerifierKey
from mynah.workspace import replace_file

if TYPE_CHECKING:
    from mynah.record.cosigning import WitnessAddress
    from mynah.record.notes import Note
    from mynah.record.orders import Order
    from mynah.record.record import Record

__all__ = ["keep_addresses", "party_keys_of", "timekeeper_note", "timekeepers_of"]

_KEEPER = re.compile(r"(?P<vkey>.+\+[0-9a-f]{8}\+[A-Za-z0-9+/]{44})=(?P<url>https?://\S+)")


def party_keys_of(record: "Record", given: Sequence[str]) -> list[VerifierKey]:
    """Keys of the organisations that an order asks to sign.

    Raises:
        ConfigError: One is no vkey, no file with one, and no log that is followed is theirs.
    """
    followed = {key.name: key for key in map(VerifierKey.parse, record.register().followed)}
    found: list[VerifierKey] = []
    for text in given:
        logs = [key for name, key in followed.items() if name.rpartition("/")[0] == text]
        if logs:  # a log is signed with its organisation's key, under the log's own name
            found.append(VerifierKey(text, logs[0].public))
            continue
        keys = [VerifierKey.parse(vkey) for vkey in vkeys_of(text)]
        if any(key.kind != SIGNER for key in keys):
            raise ConfigError(
                f"{keys[0].name} is the key of a witness, not of an organisation",
                hint="ask them for the vkey that mynah record key prints",
            )
        found += keys
    return found


def timekeepers_of(given: Sequence[str]) -> "list[WitnessAddress]":
    """Witnesses that are named as timekeepers; the address is empty where none is given.

    Raises:
        ConfigError: One is no witness.
    """
    from mynah.record.cosigning import WitnessAddress

    found: list[WitnessAddress] = []
    for text in given:
        match = _KEEPER.fullmatch(text.strip())
        vkeys, url = ([match["vkey"]], match["url"]) if match else (vkeys_of(text), "")
        for key in map(VerifierKey.parse, vkeys):
            if key.kind != COSIGNER:
                raise ConfigError(
                    f"{key.name} is no witness: its key signs no times",
                    hint="give the vkey of a witness: mynah record witness --init prints it",
                )
            found.append(WitnessAddress(key, url.rstrip("/")))
    return found


def keep_addresses(record: "Record", keepers: "Sequence[WitnessAddress]", *, quorum: int) -> None:
    """Add timekeepers to the policy of the workspace, so that ``witnessed`` and ``resume`` ask."""
    from mynah.record.cosigning import read_policy

    policy = read_policy(record.folder)
    known = {str(key) for key in policy.witnesses.values()} if policy else set[str]()
    new = [keeper for keeper in keepers if keeper.url and str(keeper.key) not in known]
    if not new:
        return
    path = record.folder / "policy"
    lines = [f"witness {keeper.key.name} {keeper.key} {keeper.url}\n" for keeper in new]
    if policy is None:
        names = " ".join(keeper.key.name for keeper in new)
        lines += [f"group timekeepers {min(quorum, len(new))} {names}\n", "quorum timekeepers\n"]
    before = path.read_text() if policy else ""
    replace_file(path, ("".join(lines) + before).encode())


def timekeeper_note(
    record: "Record", order: "Order", keepers: "Sequence[WitnessAddress]"
) -> "Callable[[], Note] | None":
    """What asks the timekeepers of an order to cosign our tree head; ``None`` without addresses."""
    from mynah.record.cosigning import addresses_of, collect, read_policy

    policy = read_policy(record.folder)
    found = {str(one.key): one for one in (addresses_of(policy) if policy else ())}
    found |= {str(one.key): one for one in keepers if one.url}
    asked = [found[vkey] for vkey in order.timekeepers if vkey in found]
    if not asked:
        return None

    def cosigned_note() -> "Note":
        for answer in collect(record.log, asked).answers:
            if answer.state != "cosigned":
                typer.echo(f"{answer.state} {answer.name}: {answer.detail}", err=True)
        return record.log.note()

    return cosigned_note

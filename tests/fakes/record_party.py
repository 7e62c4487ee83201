"""An organisation of the tests: keys, a workspace and a record of its own, in one folder."""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from mynah.record.identity import Identity
from mynah.record.notes import VerifierKey
from mynah.record.orders import SignedOrder
from mynah.record.pausing import PauseTerms, order_pause
from mynah.record.record import Record
from mynah.record.statements import ModelServed, Progress, RunDeclared

HOUR_US = 3_600_000_000
RECIPE = "cd" * 32


@dataclass
class Party:
    """Everything of one organisation lies below ``folder``."""

    name: str
    folder: Path

    @cached_property
    def identity(self) -> Identity:
        found = Identity.open(self.folder / "keys")
        return found if found.name == self.name else found.rename(self.name)

    @cached_property
    def record(self) -> Record:
        return Record.open(self.folder / "work", identity=self.identity)

    @property
    def log(self) -> Path:
        """What it publishes."""
        return self.record.log.folder

    @property
    def key(self) -> VerifierKey:
        """Of its log."""
        return self.record.key

    @property
    def vkey(self) -> VerifierKey:
        """Of the organisation itself."""
        return self.identity.key.verifier()

    def write(self, count: int, *, word: str = "model") -> None:
        """Leaves that say little."""
        digest = "ab" * 32
        self.record.write_many(
            [ModelServed(model=f"{word}-{i}", digest=digest) for i in range(count)]
        )

    def pause(
        self,
        *,
        above: str = "1e20",
        cosigners: Sequence[VerifierKey] = (),
        timekeepers: Sequence[VerifierKey] = (),
    ) -> SignedOrder:
        """Order a pause of an hour, from now on."""
        terms = PauseTerms(
            above=above,
            until_us=time.time_ns() // 1000 + HOUR_US,
            reason="a test",
            cosigners=cosigners,
            timekeepers=timekeepers,
            quorum=len(timekeepers),
        )
        return order_pause(self.record, terms)

    def declare(self, run: str, *, planned: str) -> None:
        """Declare a run from scratch."""
        self.record.write(
            RunDeclared(
                run=run,
                model=run,
                recipe=RECIPE,
                corpus="ef" * 32,
                objective="pretrain",
                parents=(),
                planned_flop=planned,
                planned_basis="6 N D",
                pool="cluster",
                device="H200",
                num_devices=8,
                peak_flop_per_s="989000000000000",
            )
        )

    def progress(self, run: str, flop: str) -> Progress:
        """A statement that the run has counted so much; not written."""
        return Progress(
            run=run, recipe=RECIPE, step=1, flop=flop, device_s="1.000", tokens=int(flop[:5])
        )

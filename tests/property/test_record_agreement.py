"""The writer's register and the verifier's fold, which share no code, agree on random histories.

Whatever the register lets in, the verifier finds no fault with; whatever the register refuses, the
verifier calls a contradiction. Runs, models, orders and lifts are drawn from few names, so that
they meet often. No leaf is signed here; the orders are.
"""

import copy
import random
from collections import Counter
from dataclasses import replace

import orjson
import pytest
from tests.fakes.record_logs import (
    SECOND_US,
    START_US,
    LogBuilder,
    digest,
    order_envelope,
    order_id,
    progress_of,
    release_envelope,
    run_declared,
    signing_key,
)

from mynah.errors import RecordError
from mynah.record.register import Register
from mynah.record.statements import (
    Body,
    CheckpointSaved,
    ModelServed,
    ModelWithdrawn,
    ParentModel,
    Paused,
    PauseLifted,
    PauseOrdered,
    Resumed,
    RunDeclared,
    Statement,
    format_time,
)
from mynah.record.verify.claims import Fold
from mynah.record.verify.notes import Key
from mynah.record.verify.pauses import Log
from mynah.record.verify.report import Report

RUNS = ["a", "b", "c"]
WEIGHTS = [digest(f"weights {n}") for n in range(3)]
HERON, STORK = signing_key("heron.example", 1), signing_key("stork.example", 2)


class History:
    """Draws statements that might be true of a register."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)
        self.register = Register(LogBuilder().origin)
        self.time_us = START_US
        self.orders: list[bytes] = [
            order_envelope(
                [HERON, STORK],
                above=self.random.choice([0, 30, 60, 10**6]),
                begins=format_time(START_US + self.random.randrange(60) * SECOND_US),
                until=format_time(START_US + self.random.randrange(61, 200) * SECOND_US),
                nonce=f"{number:032x}",
                signers=self.random.choice([[HERON], [HERON, STORK]]),
            )
            for number in range(3)
        ]

    def draw(self) -> Body:
        kinds = [self.declare, self.lift, self.order, self.pause, self.resume, self.serve]
        [make] = self.random.choices(
            [*kinds, self.progress, self.checkpoint], weights=[3, 1, 1, 2, 2, 1, 10, 3]
        )
        return make()

    def flop_of(self, run: str) -> int:
        found = self.register.runs.get(run)
        return found.flop if found else 0

    def near(self, number: int) -> int:
        return max(0, number + self.random.choice([-1, 0, 0, 0, 1, 5, 10]))

    def declare(self) -> Body:
        run = self.random.choice(RUNS)
        known = self.register.runs.get(run)
        if known is not None and self.random.random() < 0.8:
            return known.declared
        parents = tuple(self.parent() for _ in range(self.random.choice([0, 0, 1, 2])))
        return run_declared(run, planned=self.random.choice([0, 20, 50, 100]), parents=parents)

    def parent(self) -> ParentModel:
        chosen = self.random.choice([*WEIGHTS, digest("outside"), digest("other")])
        model = self.register.models.get(chosen)
        flop = self.random.choice(["", "5", "40"])
        if model is not None and self.random.random() < 0.9:
            flop = "" if model.lineage_flop is None else str(model.lineage_flop)
        is_ours = (model is not None) ^ (self.random.random() < 0.05)
        return ParentModel(
            name="p", digest=chosen, flop=flop, basis="record" if is_ours else "its paper"
        )

    def progress(self) -> Body:
        run = self.random.choice(RUNS)
        known = self.register.runs.get(run)
        tokens = self.near(known.tokens if known else 0)
        device_s = f"{self.near(known.device_ms // 1000 if known else 0)}.000"
        flop = self.near(self.flop_of(run))
        return progress_of(run, 1, flop, tokens=tokens, device_s=device_s)

    def checkpoint(self) -> Body:
        run = self.random.choice(RUNS)
        known = self.register.runs.get(run)
        total = known.total_flop if known else 0
        text = "" if total is None else str(total + (self.random.random() < 0.1))
        return CheckpointSaved(
            run=run,
            step=1,
            name="m",
            digest=self.random.choice(WEIGHTS),
            num_files=1,
            num_bytes=1,
            lineage_flop=text,
        )

    def order(self) -> Body:
        envelope = self.random.choice(self.orders)
        return PauseOrdered(order=order_id(envelope), envelope=orjson.loads(envelope))

    def lift(self) -> Body:
        order = order_id(self.random.choice(self.orders))
        if self.random.random() < 0.5:
            return PauseLifted(order=order, basis="until")
        release = release_envelope(order, self.random.choice([[HERON], [HERON, STORK]]))
        return PauseLifted(order=order, basis="parties", release=orjson.loads(release))

    def pause(self) -> Body:
        run = self.random.choice(RUNS)
        return Paused(
            run=run,
            order=order_id(self.random.choice(self.orders)),
            step=1,
            flop=str(self.near(self.flop_of(run))),
            checkpoint=self.random.choice(WEIGHTS[:2]),
        )

    def resume(self) -> Body:
        return Resumed(
            run=self.random.choice(RUNS), step=1, checkpoint=self.random.choice(WEIGHTS[:2])
        )

    def serve(self) -> Body:
        chosen = self.random.choice(WEIGHTS)
        if self.random.random() < 0.3:
            return ModelWithdrawn(model="m", digest=digest(f"file of {chosen}"), reason="new one")
        return ModelServed(model="m", digest=digest(f"file of {chosen}"), made_from=chosen)


def is_stricter(register: Register, body: Body) -> bool:
    """The verifier refuses a new run inside a pause; the writer's gate does that before."""
    return isinstance(body, RunDeclared) and body.run not in register.runs


def refused(register: Register, index: int, body: Body) -> str:
    """What the register has against a statement; it stays as it is."""
    try:
        copy.deepcopy(register).apply(index, body)
    except RecordError as error:
        return error.message
    return ""


@pytest.mark.parametrize("seed", range(25))
def test_what_one_refuses_the_other_contradicts(seed):
    history = History(seed)
    key = Key.parse(LogBuilder().vkey)
    fold = Fold(Log(LogBuilder().origin, key, lambda _: b""), Report("history"))
    seen: Counter[tuple[str, bool]] = Counter()
    for _ in range(150):
        history.time_us += SECOND_US
        body = history.draw()
        facts = orjson.loads(_predicate(body, history.time_us))
        stated = Statement.decode(_payload(body, history.time_us)).body
        index = history.register.size
        tried = copy.deepcopy(fold)
        tried.take(index, body.kind, facts)
        faults = [claim.detail for claim in tried.report.claims]
        is_new = is_stricter(history.register, body)
        refusal = refused(history.register, index, stated)
        assert faults or not refusal, f"{body.kind}: only the register says: {refusal}"
        if refusal:
            seen[(body.kind, False)] += 1
            continue
        if is_new and faults and "inside the pause" in faults[0]:
            continue
        assert not faults, f"{body.kind}: only the verifier says: {faults}"
        history.register.apply(index, stated)
        fold = tried
        seen[(body.kind, True)] += 1
    assert seen[("progress", True)]
    assert seen[("progress", False)]


def _payload(body: Body, time_us: int) -> bytes:
    return Statement(replace(body, time=format_time(time_us))).encode()


def _predicate(body: Body, time_us: int) -> bytes:
    return orjson.dumps(orjson.loads(_payload(body, time_us))["predicate"])

"""The register equals a slow, obvious reading of the same leaves, whatever comes in what order.

Reads nothing and writes nothing. ``Oracle`` keeps the list of accepted bodies and answers every
question by going through all of it; the register folds. Both must refuse the same statements, and
add up to the same numbers.
"""

from collections.abc import Iterator
from dataclasses import replace

import orjson
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.fakes.record_logs import (
    START_US,
    checkpoint_of,
    digest,
    order_envelope,
    progress_of,
    release_envelope,
    run_declared,
    signing_key,
)

from mynah.errors import RecordError
from mynah.record.orders import read_order
from mynah.record.register import Register
from mynah.record.statements import (
    Body,
    CheckpointSaved,
    ParentModel,
    Paused,
    PauseLifted,
    PauseOrdered,
    Progress,
    Resumed,
    RunDeclared,
    format_time,
)

HERON = signing_key("heron.example", 1)
SECOND_US = 1_000_000
NAMES = ("a", "b", "c", "d")
MODELS = ("m", "n", "o", "p")
ORDERS = [
    read_order(
        order_envelope(
            [HERON],
            above=above,
            begins=format_time(START_US + begins_s * SECOND_US),
            until=format_time(START_US + 10**6 * SECOND_US),
        )
    )
    for above, begins_s in ((60, 0), (150, 8), (60, 20))
]
RELEASES = [orjson.loads(release_envelope(one.id, [HERON])) for one in ORDERS]


class Oracle:
    """Every leaf so far, and answers that are found by going through all of them."""

    def __init__(self) -> None:
        self.bodies: list[Body] = []

    def of(self, kind: type[Body], run: str = "") -> Iterator[tuple[int, Body]]:
        for index, body in enumerate(self.bodies):
            if type(body) is kind and (not run or body.run == run):  # type: ignore[attr-defined]
                yield index, body

    def declared(self, run: str) -> RunDeclared | None:
        return next((body for _, body in self.of(RunDeclared, run)), None)  # type: ignore[misc]

    def counted(self, run: str, stop: int | None = None) -> int:
        found = (
            int(body.flop)
            for body in self.bodies[:stop]
            if isinstance(body, Progress | Paused) and body.run == run
        )
        return max(found, default=0)

    def tokens(self, run: str) -> int:
        return max((body.tokens for _, body in self.of(Progress, run)), default=0)  # type: ignore[attr-defined]

    def device_ms(self, run: str) -> int:
        found = (int(body.device_s.replace(".", "")) for _, body in self.of(Progress, run))  # type: ignore[attr-defined]
        return max(found, default=0)

    def maker(self, model: str, stop: int) -> tuple[str, int | None] | None:
        """The dearest run that made a model before leaf ``stop``, the last of equals."""
        best: tuple[str, int | None] | None = None
        for index, body in self.of(CheckpointSaved):
            assert isinstance(body, CheckpointSaved)
            if body.digest != model or index >= stop:
                continue
            total = self.total(body.run, index)
            if best is None or total is None or (best[1] is not None and total >= best[1]):
                best = (body.run, total)
        return best

    def lineage(self, parents: tuple[ParentModel, ...], stop: int) -> int | None:
        """By recursion over sets: (run) and (outside model, FLOP) that are reached."""
        runs, outside = self.reached(parents, stop)
        if any(not flop for _, flop in outside):
            return None
        largest = {name: max(int(f) for n, f in outside if n == name) for name, _ in outside}
        return sum(self.counted(run, stop) for run in runs) + sum(largest.values())

    def reached(
        self, parents: tuple[ParentModel, ...], stop: int
    ) -> tuple[set[str], set[tuple[str, str]]]:
        runs: set[str] = set()
        outside: set[tuple[str, str]] = set()
        for parent in parents:
            made = self.maker(parent.digest, stop)
            if made is None:
                outside.add((parent.digest, parent.flop))
                continue
            index, declared = next(iter(self.of(RunDeclared, made[0])))
            assert isinstance(declared, RunDeclared)
            more = self.reached(declared.parents, index)
            runs |= {made[0]} | more[0]
            outside |= more[1]
        return runs, outside

    def before(self, run: str) -> int | None:
        """Lineage of a run when it was declared."""
        index, declared = next(iter(self.of(RunDeclared, run)))
        assert isinstance(declared, RunDeclared)
        return self.lineage(declared.parents, index)

    def total(self, run: str, stop: int | None = None) -> int | None:
        before = self.before(run)
        return None if before is None else before + self.counted(run, stop)

    def in_force(self, time: str) -> Iterator[int]:
        """Numbers of the orders that bind at a time."""
        for number, one in enumerate(ORDERS):
            logged = any(b.order == one.id for _, b in self.of(PauseOrdered))  # type: ignore[attr-defined]
            lifted = any(b.order == one.id for _, b in self.of(PauseLifted))  # type: ignore[attr-defined]
            if logged and not lifted and one.order.begins <= time:
                yield number

    def is_covered(
        self, declared: RunDeclared, before: int | None, flop: int, time: str, order: str = ""
    ) -> bool:
        for number in self.in_force(time):
            one = ORDERS[number]
            if order in ("", one.id) and (
                before is None or before + max(flop, int(declared.planned_flop)) > one.order.above
            ):
                return True
        return False

    def paused_at(self, run: str) -> str:
        """Checkpoint that a run stands at; empty while it goes."""
        found = ""
        for body in self.bodies:
            if isinstance(body, Paused) and body.run == run:
                found = body.checkpoint
            if isinstance(body, Resumed) and body.run == run:
                found = ""
        return found

    def allows(self, body: Body) -> bool:
        """Whether a statement contradicts nothing before it."""
        stop = len(self.bodies)
        if isinstance(body, RunDeclared):
            return self._allows_run(body, stop)
        if isinstance(body, PauseOrdered | PauseLifted):
            lifted = any(b.order == body.order for _, b in self.of(PauseLifted))  # type: ignore[attr-defined]
            logged = any(b.order == body.order for _, b in self.of(PauseOrdered))  # type: ignore[attr-defined]
            return not lifted and (logged or isinstance(body, PauseOrdered))
        assert isinstance(body, Progress | CheckpointSaved | Paused | Resumed)
        declared = self.declared(body.run)
        if declared is None:
            return False
        before, paused_at = self.before(body.run), self.paused_at(body.run)
        if isinstance(body, CheckpointSaved):
            return body.lineage_flop == _text(self.total(body.run))
        if isinstance(body, Resumed):
            is_held = self.is_covered(declared, before, self.counted(body.run), body.time)
            return bool(paused_at) and body.checkpoint == paused_at and not is_held
        flop, had = int(body.flop), self.counted(body.run)
        if isinstance(body, Paused):
            is_same = not paused_at or (flop == had and body.checkpoint == paused_at)
            is_held = self.is_covered(declared, before, max(flop, had), body.time, body.order)
            return is_held and flop >= had and is_same
        grows = flop > had or body.tokens > self.tokens(body.run)
        shrinks = flop < had or body.tokens < self.tokens(body.run)
        shrinks = shrinks or int(body.device_s.replace(".", "")) < self.device_ms(body.run)
        is_stopped = bool(paused_at) or self.is_covered(declared, before, flop, body.time)
        return not shrinks and not (grows and is_stopped)

    def _allows_run(self, body: RunDeclared, stop: int) -> bool:
        known = self.declared(body.run)
        if known is not None:
            return replace(known, time="") == replace(body, time="")
        for parent in body.parents:
            made = self.maker(parent.digest, stop)
            if (made is not None) != (parent.basis == "record"):
                return False
            if made is not None and parent.flop != _text(made[1]):
                return False
        if len({parent.digest for parent in body.parents}) < len(body.parents):
            return False
        return not self.is_covered(body, self.lineage(body.parents, stop), 0, body.time)


def _text(flop: int | None) -> str:
    return "" if flop is None else str(flop)


@st.composite
def parents_of(draw: st.DrawFn, oracle: Oracle) -> tuple[ParentModel, ...]:
    """Models, mostly as they are known, some with a wrong word about them."""
    found: list[ParentModel] = []
    for word in draw(st.lists(st.sampled_from((*MODELS, "x", "y")), max_size=3)):
        made = oracle.maker(digest(word), len(oracle.bodies))
        flop = _text(made[1]) if made else draw(st.sampled_from(("5", "7", "7", "")))
        basis = "record" if made else "its card"
        if draw(st.integers(0, 15)) == 0:
            flop, basis = draw(st.sampled_from([("3", basis), (flop, "record"), (flop, "card")]))
        found.append(ParentModel(name=word, digest=digest(word), flop=flop, basis=basis))
    return tuple(found)


@st.composite
def bodies(draw: st.DrawFn, oracle: Oracle) -> Body:  # long: one branch a kind of statement
    """The next statement: plausible, or a little wrong."""
    run = draw(st.sampled_from(NAMES))
    number = draw(st.integers(0, len(ORDERS) - 1))
    kind = draw(st.sampled_from("rrppppccccolasse"))
    flop = oracle.counted(run) + draw(st.sampled_from((-1, 0, 0, 1, 10, 10, 25, 70)))
    checkpoint = draw(st.sampled_from(("one", "two")))
    if draw(st.integers(0, 3)):
        checkpoint_digest = oracle.paused_at(run) or digest(checkpoint)
    else:
        checkpoint_digest = digest(checkpoint)
    if kind == "r":
        planned = draw(st.sampled_from((0, 20, 40, 90)))
        return run_declared(run, planned=planned, parents=draw(parents_of(oracle)))
    if kind == "c" and oracle.declared(run):
        total = oracle.total(run)
        wrong = None if total is None else total + 1
        flop_said = wrong if draw(st.integers(0, 9)) == 0 else total
        saved = checkpoint_of(run, 1, flop_said)
        return replace(saved, digest=digest(draw(st.sampled_from(MODELS))))
    if kind == "o":
        one = ORDERS[number]
        return PauseOrdered(order=one.id, envelope=orjson.loads(one.envelope))
    if kind == "l":
        return PauseLifted(order=ORDERS[number].id, basis="parties", release=RELEASES[number])
    if kind == "s":
        return Paused(
            run=run,
            order=ORDERS[number].id,
            step=1,
            flop=str(max(flop, 0)),
            checkpoint=checkpoint_digest,
        )
    if kind == "e":
        return Resumed(run=run, step=1, checkpoint=checkpoint_digest)
    tokens = max(0, oracle.tokens(run) + draw(st.sampled_from((-1, 0, 0, 5))))
    device_ms = max(0, oracle.device_ms(run) + draw(st.sampled_from((-1, 0, 3, 3, 3))))
    used = {"device_s": f"{device_ms // 1000}.{device_ms % 1000:03d}", "tokens": tokens}
    return progress_of(run, 1, max(flop, 0), **used)


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_the_register_equals_a_slow_reading(data: st.DataObject):
    register, oracle = Register(), Oracle()
    for step in range(data.draw(st.integers(5, 45))):
        time = format_time(START_US + (step + 1) * SECOND_US)
        body = replace(data.draw(bodies(oracle)), time=time)
        before = orjson.dumps(register.to_json())
        try:
            register.apply(register.size, body)
            is_taken = True
        except RecordError:
            is_taken = False
            assert orjson.dumps(register.to_json()) == before, "a refusal changes nothing"
        assert is_taken == oracle.allows(body), body
        if is_taken:
            oracle.bodies.append(body)
        if data.draw(st.integers(0, 9)) == 0:
            register = Register.from_json(orjson.loads(orjson.dumps(register.to_json())))
    check_equal(register, oracle)


def check_equal(register: Register, oracle: Oracle) -> None:
    """Every number of the register, against the oracle's."""
    assert register.size == len(oracle.bodies)
    assert set(register.runs) == {body.run for _, body in oracle.of(RunDeclared)}  # type: ignore[attr-defined]
    for name, run in register.runs.items():
        assert run.lineage_flop == oracle.before(name)
        assert run.flop == oracle.counted(name)
        assert run.total_flop == oracle.total(name)
        assert run.tokens == oracle.tokens(name)
        assert run.device_ms == oracle.device_ms(name)
        assert run.paused_checkpoint == oracle.paused_at(name)
        assert bool(run.paused_by) == bool(run.paused_checkpoint)
    for word in MODELS:
        made = oracle.maker(digest(word), len(oracle.bodies))
        model = register.models.get(digest(word))
        assert (model and (model.run, model.lineage_flop)) == made
    time = oracle.bodies[-1].time if oracle.bodies else format_time(START_US)
    found = {one.signed.id for one in register.orders_in_force(register.last_time_us)}
    assert found == {ORDERS[number].id for number in oracle.in_force(time)}
    assert sum(pool.flop for pool in register.pools()) == sum(
        oracle.counted(name) for name in register.runs
    )
    assert sum(register.counts.values()) == register.size

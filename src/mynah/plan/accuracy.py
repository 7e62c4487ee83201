"""How far predictions are from published runs, each predicted without its own source.

Reads a folder of CSV files (see ``published``), one a source; writes nothing. Whatever is found on
measurements, constants and the width of ranges, is found again without the source that is scored.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from mynah.errors import DataError
from mynah.plan.calibration import Measured, calibrate, log_errors
from mynah.plan.constants import Constants
from mynah.plan.memory import memory_of
from mynah.plan.published import Table, read_table
from mynah.plan.setups import Floats, Setups

__all__ = [
    "MULTI_NODE",
    "WITH_FAILURES",
    "Accuracy",
    "Fit",
    "Scale",
    "Score",
    "Sweep",
    "validate",
]

MULTI_NODE = 8
"""Runs on more accelerators than this are scored and calibrated on."""
LEAST_OF_SWEEP = 8
"""Layouts of one shape, batch, software and number of accelerators that make a sweep."""
LOW, HIGH = 0.1, 0.9
WITH_FAILURES = "sources with failures"
"""Name of the fit that holds every source in which something ran out of memory."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Score:
    """Errors of one source, or of all."""

    name: str
    num_runs: int
    median: float
    """Of predicted over measured tokens per second and accelerator, less one, without sign."""
    tenth: float
    """The error that one run in ten passes."""
    bias: float
    """Median of predicted over measured, less one: above zero is too fast."""
    inside: float
    """Share of runs inside the range, whose width came from the other sources."""
    constant_median: float
    """The median error of one constant MFU an accelerator and precision, found on the others."""
    constant_tenth: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Sweep:
    """Layouts that somebody measured beside each other."""

    source: str
    num_layouts: int
    num_accelerators: int
    row_tokens: int
    spearman: float
    """Correlation of the ranks, predicted with measured."""
    first: float
    """Measured speed of the layout that is predicted to be the best, over that of the best."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Fit:
    """What was said of memory."""

    name: str
    num_runs: int
    num_failed: int
    """That ran out of memory."""
    num_refused: int
    """That are predicted not to fit."""
    num_both: int
    ratio: float
    """Median of predicted over measured memory; NaN where nobody says."""

    @property
    def precision(self) -> float:
        """Share of the refused that failed."""
        return self.num_both / self.num_refused if self.num_refused else float("nan")

    @property
    def recall(self) -> float:
        """Share of the failed that are refused."""
        return self.num_both / self.num_failed if self.num_failed else float("nan")


@dataclass(frozen=True, slots=True, kw_only=True)
class Scale:
    """Speed of one accelerator among many over that among few, same hardware and software."""

    source: str
    few: int
    many: int
    measured: float
    predicted: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Accuracy:
    """All that is known of errors."""

    scores: tuple[Score, ...]
    """By source, then dense models, those with experts, and all."""
    sweeps: tuple[Sweep, ...]
    fits: tuple[Fit, ...]
    scales: tuple[Scale, ...]
    constants: Constants
    """Found on all sources together: what the planner ships with."""
    spread_dense: tuple[float, float]
    spread_sparse: tuple[float, float]
    """Measured over predicted, between which 80% of runs lie."""
    predicted: Mapping[str, Floats]
    """Tokens per second and accelerator by source."""
    measured: Mapping[str, Floats]
    num_accelerators: Mapping[str, Floats]

    def score(self, name: str) -> Score:
        """One of the scores."""
        return next(one for one in self.scores if one.name == name)

    def fit(self, name: str) -> Fit:
        """One of the fits."""
        return next(one for one in self.fits if one.name == name)


def validate(folder: Path) -> Accuracy:
    """Score every source of a folder with constants that were found without it.

    Raises:
        DataError: There is no such folder, or nothing was measured in it.
    """
    tables = _tables(folder)
    sources = _measured(tables)
    if len(sources) < 2:
        raise DataError(
            f"{folder} has runs of one source: nothing is left to calibrate on without it",
            hint="put the runs of another source beside them, in a file of their own",
        )
    constants = calibrate([one for one in map(_known, sources) if one is not None])
    found = {one.source: _without(one, sources) for one in sources}
    errors = {one.source: log_errors(one, found[one.source]) for one in sources}
    plain = {one.source: _constant_errors(one, sources) for one in sources}
    return Accuracy(
        scores=tuple(_scores(sources, errors, plain)),
        sweeps=tuple(_sweeps(tables, sources, errors)),
        fits=tuple(_fits(tables)),
        scales=tuple(_scales(sources, errors)),
        constants=constants,
        spread_dense=_spread(_weighted(sources, errors, is_sparse=False)),
        spread_sparse=_spread(_weighted(sources, errors, is_sparse=True)),
        predicted={one.source: one.tokens_per_s * np.exp(errors[one.source]) for one in sources},
        measured={one.source: one.tokens_per_s for one in sources},
        num_accelerators={one.source: one.setups.degrees.accelerators for one in sources},
    )


def _tables(folder: Path) -> dict[str, Table]:
    files = sorted(folder.glob("*.csv"))
    if not files:
        raise DataError(
            f"{folder} holds no CSV files", hint="name a folder of published runs: --runs FOLDER"
        )
    return {path.stem: read_table(path) for path in files}


def _is_scored(table: Table) -> np.ndarray:
    speed = table.measured()
    return np.isfinite(speed) & (speed > 0) & (table.setups.degrees.accelerators > MULTI_NODE)


def _measured(tables: Mapping[str, Table]) -> list[Measured]:
    found: list[Measured] = []
    for name, table in tables.items():
        which = _is_scored(table)
        if which.any():
            setups = table.setups.take(which)
            found.append(Measured(source=name, setups=setups, tokens_per_s=table.measured()[which]))
    if not found:
        raise DataError(
            f"no run on more than {MULTI_NODE} accelerators has a measured speed",
            hint="the column is derived_tokens_per_s_per_gpu",
        )
    return found


def _known(one: Measured) -> Measured | None:
    """Its runs on accelerators whose products somebody measured."""
    which = one.setups.machines.is_measured > 0
    if not which.any():
        return None
    return Measured(
        source=one.source, setups=one.setups.take(which), tokens_per_s=one.tokens_per_s[which]
    )


def _without(left: Measured, sources: Sequence[Measured]) -> Constants:
    others = [_known(one) for one in sources if one is not left]
    return calibrate([one for one in others if one is not None])


def _constant_errors(scored: Measured, sources: Sequence[Measured]) -> Floats:
    """Errors of the rule of thumb: the others' median MFU of that accelerator and precision."""
    mine = _kinds(scored.setups)
    others = [one for one in sources if one is not scored]
    kinds = np.concatenate([_kinds(one.setups) for one in others])
    rates = np.concatenate([_mfu(one.setups, one.tokens_per_s) for one in others])
    guess = np.empty(len(mine))
    for kind in np.unique(mine):
        same = rates[kinds == kind]
        guess[mine == kind] = np.median(same if len(same) else rates)
    return np.log(guess / _mfu(scored.setups, scored.tokens_per_s))


def _kinds(setups: Setups) -> Floats:
    return setups.machines.flop_per_s + setups.work.bits


def _mfu(setups: Setups, tokens_per_s: Floats) -> Floats:
    flop = setups.shapes.flop_per_token(setups.work.row_tokens)
    return tokens_per_s * flop / setups.machines.peak_flop_per_s


@dataclass(frozen=True, slots=True)
class _Weighted:
    """Errors, each source weighing as the root of its runs: a long table is no better proof."""

    errors: Floats
    weights: Floats


def _weighted(
    sources: Sequence[Measured],
    errors: Mapping[str, Floats],
    *,
    is_sparse: bool,
    without: str = "",
) -> _Weighted:
    parts: list[Floats] = []
    weights: list[Floats] = []
    for one in sources:
        which = (one.setups.shapes.experts > 0) == is_sparse
        if one.source != without and which.any():
            some = errors[one.source][which]
            parts.append(some)
            weights.append(np.full(len(some), 1.0 / np.sqrt(len(some))))
    none = np.zeros(0)
    return _Weighted(np.concatenate([none, *parts]), np.concatenate([none, *weights]))


def _spread(found: _Weighted) -> tuple[float, float]:
    """Measured over predicted at the ends of the middle 80%; all where there is nothing."""
    if not len(found.errors):
        return 0.0, np.inf
    order = np.argsort(found.errors)
    shares = np.cumsum(found.weights[order]) / found.weights.sum()
    low, high = (found.errors[order][np.searchsorted(shares, share)] for share in (LOW, HIGH))
    return float(np.exp(-high)), float(np.exp(-low))


def _inside(one: Measured, sources: Sequence[Measured], errors: Mapping[str, Floats]) -> np.ndarray:
    """Which runs lie inside ranges whose width the other sources gave.

    Models with experts stand in one source only; its own runs then say how wide.
    """
    inside = np.zeros(len(errors[one.source]), dtype=bool)
    for is_sparse in (False, True):
        which = (one.setups.shapes.experts > 0) == is_sparse
        others = _weighted(sources, errors, is_sparse=is_sparse, without=one.source)
        if len(others.errors) < LEAST_OF_SWEEP:
            others = _weighted(sources, errors, is_sparse=is_sparse)
        low, high = _spread(others)
        ratio = np.exp(-errors[one.source])
        inside |= which & (ratio >= low) & (ratio <= high)
    return inside


def _scores(
    sources: Sequence[Measured], errors: Mapping[str, Floats], plain: Mapping[str, Floats]
) -> list[Score]:
    inside = {one.source: _inside(one, sources, errors) for one in sources}
    rows = [
        _score(one.source, errors[one.source], plain[one.source], inside[one.source])
        for one in sources
    ]
    joined = [np.concatenate([some[one.source] for one in sources]) for some in (errors, plain)]
    whole_inside = np.concatenate([inside[one.source] for one in sources])
    is_sparse = np.concatenate([one.setups.shapes.experts > 0 for one in sources])
    groups = {"dense": ~is_sparse, "experts": is_sparse, "all": np.ones(len(is_sparse), bool)}
    for name, which in groups.items():
        if which.any():
            rows.append(_score(name, joined[0][which], joined[1][which], whole_inside[which]))
    return rows


def _score(name: str, errors: Floats, plain: Floats, inside: np.ndarray) -> Score:
    off, plain_off = np.abs(np.exp(errors) - 1.0), np.abs(np.exp(plain) - 1.0)
    return Score(
        name=name,
        num_runs=len(errors),
        median=float(np.median(off)),
        tenth=float(np.quantile(off, HIGH)),
        bias=float(np.exp(np.median(errors)) - 1.0),
        inside=float(inside.mean()),
        constant_median=float(np.median(plain_off)),
        constant_tenth=float(np.quantile(plain_off, HIGH)),
    )


def _sweeps(
    tables: Mapping[str, Table], sources: Sequence[Measured], errors: Mapping[str, Floats]
) -> list[Sweep]:
    found: list[Sweep] = []
    for one in sources:
        table, setups = tables[one.source], one.setups
        rows = table.which[_is_scored(table)]
        texts = [table.frame[name].to_list() for name in ("framework", "dtype")]
        groups: dict[tuple[object, ...], list[int]] = {}
        for number, row in enumerate(rows.tolist()):
            shape = [setups.shapes.layers, setups.shapes.hidden, setups.work.row_tokens]
            size = [setups.degrees.accelerators, setups.work.batch_rows, setups.shapes.heads]
            key = (*(column[number] for column in (*shape, *size)), *(text[row] for text in texts))
            groups.setdefault(key, []).append(number)
        for numbers in groups.values():
            if len(numbers) >= LEAST_OF_SWEEP:
                found.append(_sweep(one, errors[one.source], np.array(numbers)))
    return found


def _sweep(one: Measured, errors: Floats, which: np.ndarray) -> Sweep:
    measured = one.tokens_per_s[which]
    predicted = measured * np.exp(errors[which])
    ranks = [np.argsort(np.argsort(some)).astype(float) for some in (measured, predicted)]
    return Sweep(
        source=one.source,
        num_layouts=len(which),
        num_accelerators=int(one.setups.degrees.accelerators[which[0]]),
        row_tokens=int(one.setups.work.row_tokens[which[0]]),
        spearman=float(np.corrcoef(ranks[0], ranks[1])[0, 1]),
        first=float(measured[np.argmax(predicted)] / measured.max()),
    )


def _fits(tables: Mapping[str, Table]) -> list[Fit]:
    found: list[Fit] = []
    for name, table in tables.items():
        if not len(table.which) or "outcome" not in table.frame.columns:
            continue
        memory = memory_of(table.roomiest)
        outcome = np.array([text or "" for text in table.frame["outcome"].to_list()])
        failed, refused = outcome[table.which] == "OOM", ~memory.fits
        held = table.numbers("memory_gb")
        said = np.isfinite(held)
        ratio = float(np.median(memory.total[said] / 2**30 / held[said])) if said.any() else np.nan
        found.append(
            Fit(
                name=name,
                num_runs=len(failed),
                num_failed=int(failed.sum()),
                num_refused=int(refused.sum()),
                num_both=int((failed & refused).sum()),
                ratio=ratio,
            )
        )
    with_failures = [one for one in found if one.num_failed]
    if with_failures:
        found.append(
            Fit(
                name=WITH_FAILURES,
                num_runs=sum(one.num_runs for one in with_failures),
                num_failed=sum(one.num_failed for one in with_failures),
                num_refused=sum(one.num_refused for one in with_failures),
                num_both=sum(one.num_both for one in with_failures),
                ratio=float("nan"),
            )
        )
    return found


def _scales(sources: Sequence[Measured], errors: Mapping[str, Floats]) -> list[Scale]:
    """Where one shape ran with like software on few and on at least ten times as many."""
    found: list[Scale] = []
    for one in sources:
        setups, sizes = one.setups, one.setups.degrees.accelerators
        work, degrees = setups.work, setups.degrees
        layout = (degrees.tensor, degrees.pipeline, setups.machines.cores)
        same = np.stack([setups.shapes.weights, work.row_tokens, work.bits, *layout], axis=1)
        for kind in np.unique(same, axis=0):
            is_kind = np.all(same == kind, axis=1)
            which = np.flatnonzero(is_kind)
            few, many = which[np.argmin(sizes[which])], which[np.argmax(sizes[which])]
            if sizes[many] < 10 * sizes[few]:
                continue
            measured = one.tokens_per_s[many] / one.tokens_per_s[few]
            off = errors[one.source][many] - errors[one.source][few]
            found.append(
                Scale(
                    source=one.source,
                    few=int(sizes[few]),
                    many=int(sizes[many]),
                    measured=float(measured),
                    predicted=float(measured * np.exp(off)),
                )
            )
    return found

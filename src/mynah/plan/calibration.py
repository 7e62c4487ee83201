"""Find the constants of the step model on measured runs.

Pure. Least squares of the logarithm of predicted over measured, every source weighing the same
however many rows it has, a far row counting less than its square; drawn to what physics suggests,
so that a constant that nothing in the data tells stays where it is.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from mynah.plan.constants import BOUNDS, PRIOR, Constants, from_array, to_array
from mynah.plan.setups import Floats, Setups, joined
from mynah.plan.step import step_times

__all__ = ["Measured", "calibrate", "log_errors"]

FAR = 0.05
"""Error, as a logarithm, from which on a row counts less than its square."""
PRIOR_WEIGHT = 0.1
"""Of a constant's distance from its prior, in units of the prior."""
NUM_ROUNDS = 25
NUDGE = 1e-4


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """Runs of one source, and the tokens per second and accelerator that it measured."""

    source: str
    setups: Setups
    tokens_per_s: Floats


def log_errors(measured: Measured, constants: Constants) -> Floats:
    """Logarithm of predicted over measured, one a run."""
    predicted = step_times(measured.setups, constants).tokens_per_s(measured.setups)
    return np.log(predicted / measured.tokens_per_s)


def calibrate(sources: Sequence[Measured]) -> Constants:
    """Return the constants that fit ``sources`` best; the same for the same data.

    Without any it is what physics suggests, ``PRIOR``.
    """
    if not sources:
        return PRIOR
    prior = to_array(PRIOR)
    low, high = np.array([BOUNDS[name] for name in BOUNDS]).T
    units = np.maximum(np.abs(prior), 1e-6)

    # All at once: a call costs the same for ten runs as for a thousand.
    whole = Measured(
        source="",
        setups=joined([one.setups for one in sources]),
        tokens_per_s=np.concatenate([one.tokens_per_s for one in sources]),
    )
    weights = np.concatenate([np.full(len(one.setups), len(one.setups) ** -0.5) for one in sources])

    def residuals(values: Floats) -> Floats:
        errors = log_errors(whole, from_array(values))
        return np.concatenate([PRIOR_WEIGHT * (values - prior) / units, _soften(errors) * weights])

    return from_array(_minimise(residuals, prior, low=low, high=high))


def _soften(errors: Floats) -> Floats:
    """Root of a loss that grows by squares near zero and by itself far away (soft L1)."""
    loss = 2.0 * FAR**2 * (np.sqrt(1.0 + (errors / FAR) ** 2) - 1.0)
    return np.sign(errors) * np.sqrt(loss)


def _minimise(
    residuals: Callable[[Floats], Floats], start: Floats, *, low: Floats, high: Floats
) -> Floats:
    """Levenberg-Marquardt within bounds, with derivatives by differences.

    Marquardt 1963. Nine unknowns; a library for it would weigh thirty megabytes.
    """
    values, damping = start.copy(), 1e-2
    found = residuals(values)
    for _ in range(NUM_ROUNDS):
        slopes = _slopes(residuals, values, found, high=high)
        normal, gradient = slopes.T @ slopes, slopes.T @ found
        while damping < 1e6:
            step = np.linalg.solve(normal + damping * np.diag(np.diag(normal)), -gradient)
            tried = np.clip(values + step, low, high)
            errors = residuals(tried)
            if errors @ errors < found @ found:
                break
            damping *= 4.0
        else:
            return values
        is_done = found @ found - errors @ errors < 1e-9
        values, found, damping = tried, errors, damping / 4.0
        if is_done:
            break
    return values


def _slopes(
    residuals: Callable[[Floats], Floats], values: Floats, found: Floats, *, high: Floats
) -> Floats:
    columns: list[Floats] = []
    for number in range(len(values)):
        moved = values.copy()
        nudge = NUDGE * max(abs(values[number]), 1e-3)
        moved[number] += -nudge if values[number] + nudge > high[number] else nudge
        columns.append((residuals(moved) - found) / (moved[number] - values[number]))
    return np.array(columns).T

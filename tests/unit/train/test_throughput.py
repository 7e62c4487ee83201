"""The measured peak is a rate of this process; counted FLOP have their tests with the data."""

import pytest
import torch

from mynah.train import measure_peak_flop_per_s
from mynah.train import throughput as throughput_module


def test_the_peak_is_that_of_the_fastest_product(monkeypatch: pytest.MonkeyPatch):
    size, times_s = 64, (9.0, 3.0, 4.0)
    clock = [0.0]
    left = iter(times_s)

    def product(*_: object, out: torch.Tensor) -> torch.Tensor:
        clock[0] += next(left)
        return out

    monkeypatch.setattr(throughput_module.time, "perf_counter", lambda: clock[0])
    monkeypatch.setattr(throughput_module.torch, "mm", product)
    peak = measure_peak_flop_per_s(sizes=(size,), seconds=1.0)
    assert peak == pytest.approx(2.0 * size**3 / 3.0)


def test_it_multiplies_for_as_long_as_it_is_told():
    peak = measure_peak_flop_per_s(sizes=(32, 48), seconds=0.0)
    assert 0.0 < peak < 1e16

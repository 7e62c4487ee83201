"""A pause holds through kill -9, wrong clocks, edits and deletions: real processes, a tiny model.

Twelve trials here; ``benchmarks/pause_chaos.py`` does two hundred with the same code.
"""

from benchmarks.pause_chaos import chaos

SEED = 3


def test_nothing_is_trained_inside_a_pause(tmp_path):
    counts, faults = chaos(tmp_path, num_trials=12, seed=SEED)
    assert faults == []
    assert counts["starts"] > 12 * 5
    assert counts["ordered in the middle"]
    assert counts["progress leaves"] > 100

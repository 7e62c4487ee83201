"""A pause holds through kill -9, wrong clocks, edits and deletions: real processes, a tiny model.

Five trials here; ``benchmarks/pause_chaos.py`` does two hundred with the same code.
"""

from benchmarks.pause_chaos import chaos

SEED, NUM_TRIALS = 3, 5


def test_nothing_is_trained_inside_a_pause(tmp_path):
    counts, faults = chaos(tmp_path, num_trials=NUM_TRIALS, seed=SEED)
    assert faults == []
    assert counts["starts"] > NUM_TRIALS * 5
    assert counts["ordered in the middle"]
    assert counts["progress leaves"] > 40

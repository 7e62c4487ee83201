"""Bits of a log changed, one at a time: does the verifier find every one?

The tamper suite of `make test` (tests/property/test_record_tamper.py) with as many changes as
asked: every bit of the signed tree head, and random bits of tiles and entry bundles, of a log of
1,000 leaves with every kind of leaf. Leaves a result file; exit code 1 if one goes unseen.
"""

import argparse
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))  # the suite is one of the tests'

import reporting
from tests.fakes.record_logs import story
from tests.property.test_record_tamper import (
    NUM_LEAVES,
    WITNESSES,
    flip,
    head_of,
    undetected_bit_changes,
)

from mynah.record.verify import Policy, Trust, verify_head


def main() -> None:
    """Run as a program."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--changes", type=int, default=100_000)
    parser.add_argument("--seed", type=int, default=0)
    asked = parser.parse_args()
    log = story(NUM_LEAVES)
    files = log.files(WITNESSES)
    keys = [f"witness w{n} {key.verifier(4)}" for n, key in enumerate(WITNESSES)]
    policy = Policy.parse(
        "\n".join([f"log {log.vkey}", *keys, "group both all w0 w1", "quorum both"])
    )
    note, trust = files["checkpoint"], Trust(policy=policy)
    bits = range(len(note) * 8)
    unseen = [bit for bit in bits if not verify_head(flip(note, bit), trust).is_contradicted]
    begun_s = time.process_time()
    missed = list(
        undetected_bit_changes(files, head_of(files), num_changes=asked.changes, seed=asked.seed)
    )
    took_ms = (time.process_time() - begun_s) / asked.changes * 1e3
    num_bytes = sum(len(data) for path, data in files.items() if path.startswith("tile/"))
    reporting.write(
        "record_tamper",
        "A log with one bit changed",
        [
            f"{NUM_LEAVES:,} leaves of every kind, {num_bytes:,} bytes of tiles and bundles, seed "
            f"{asked.seed}; {took_ms:.2f} CPU-ms a change.",
            "",
            "| what | bits changed | not noticed |",
            "|---|---|---|",
            f"| tree head, log and two witnesses: every bit | {len(bits):,} | {len(unseen)} |",
            f"| tiles and entry bundles: at random | {asked.changes:,} | {len(missed)} |",
        ],
    )
    sys.exit(bool(unseen or missed))


if __name__ == "__main__":
    main()

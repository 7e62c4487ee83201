"""A corpus whose building is killed, at any moment, is the same corpus when it is built again."""

import csv
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from mynah.corpus import CORPUS_KIND, CorpusConfig, build_corpus
from mynah.posts import POSTS_KIND, read_posts
from mynah.workspace import latest_artifact

NUM_POSTS = 4_000
NUM_KILLS = 4
BUILD = """
import sys
from pathlib import Path
from mynah.corpus import CorpusConfig, build_corpus
from mynah.posts import POSTS_KIND
from mynah.workspace import latest_artifact
root = Path(sys.argv[1])
print("ready", flush=True)
sys.stdin.readline()
posts = latest_artifact(root / "posts", kind=POSTS_KIND)
config = CorpusConfig(min_similarity=1.0)
print(build_corpus(posts, root / "corpus", config=config, tokenizer=600).digest)
"""


@pytest.fixture
def root(tmp_path: Path) -> Path:
    path = tmp_path / "posts.csv"
    with path.open("w", newline="") as stream:
        table = csv.writer(stream)
        table.writerow(["id", "author", "created_at", "text", "reply_to"])
        for n in range(NUM_POSTS):
            text = f"{n * 7919} people heard of the {n * 31} songs on day {n * n % 365}"
            row = [f"{n:06}", f"writer{n % 90}", f"2024-01-{n % 28 + 1:02} 10:{n % 60:02}", text]
            table.writerow([*row, f"{n - 1:06}" if n % 3 else ""])
    read_posts([path], tmp_path / "network" / "posts")
    return tmp_path / "network"


def start(root: Path) -> "subprocess.Popen[str]":
    process = subprocess.Popen(
        [sys.executable, "-c", BUILD, str(root)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
    )
    assert process.stdout is not None
    assert process.stdin is not None
    assert process.stdout.readline() == "ready\n"
    process.stdin.write("go\n")
    process.stdin.flush()
    return process


def test_killed_at_random_moments_it_ends_the_same(root: Path, tmp_path: Path):
    posts = latest_artifact(root / "posts", kind=POSTS_KIND)
    assert posts is not None
    begun = time.monotonic()
    config = CorpusConfig(min_similarity=1.0)
    expected = build_corpus(posts, tmp_path / "unbroken", config=config, tokenizer=600).digest
    took_s = time.monotonic() - begun
    moments = random.Random(20_261_121)
    num_killed = 0
    for _ in range(NUM_KILLS):
        process = start(root)
        time.sleep(moments.uniform(0, took_s))
        process.send_signal(signal.SIGKILL)
        num_killed += process.wait() == -signal.SIGKILL
        process.communicate()
        found = latest_artifact(root / "corpus", kind=CORPUS_KIND)
        assert found is None or found.digest == expected
    said, _ = start(root).communicate()
    assert said.strip() == expected
    assert [path.name for path in (root / "corpus").glob(".*.writing")] == []
    assert num_killed > 0

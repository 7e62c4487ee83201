"""The corpus built on a Ray cluster of two nodes is the one that threads build, byte for byte."""

import csv
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from mynah.corpus import CorpusConfig, LocalEngine, build_corpus
from mynah.corpus.cluster import ClusterEngine, opened_cluster
from mynah.errors import ConfigError
from mynah.posts import read_posts, shards
from mynah.workspace import Artifact

pytestmark = [
    pytest.mark.distributed,
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::FutureWarning"),
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]


@pytest.fixture(scope="module")
def cluster() -> Iterator[Any]:
    """Two nodes on this machine, each a set of processes of its own."""
    ray = pytest.importorskip("ray", reason="the extra mynah[ray] is not installed")
    from ray.cluster_utils import Cluster

    node = {"num_cpus": 1, "object_store_memory": 100_000_000}
    nodes = Cluster(initialize_head=True, head_node_args={**node, "include_dashboard": False})
    nodes.add_node(**node)
    yield nodes
    ray.shutdown()
    nodes.shutdown()


@pytest.fixture(scope="module")
def engine(cluster: Any) -> Iterator[ClusterEngine]:
    with opened_cluster(cluster.address) as opened:
        yield opened


@pytest.fixture
def posts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Artifact:
    """A store of several shards."""
    monkeypatch.setattr(shards, "_BORDER", 2**32 // 60)
    with (tmp_path / "posts.csv").open("w", newline="") as stream:
        table = csv.writer(stream)
        table.writerow(["id", "author", "created_at", "text", "reply_to"])
        for n in range(600):
            words = f"{n * 7919 % 1009} people came on day {n * n % 365} for {n * 31 % 97} songs"
            parent = f"{n - 1:05}" if n % 4 else ""
            table.writerow(
                [f"{n:05}", f"writer{n % 9}", f"2024-01-01 {n % 24:02}:00", words, parent]
            )
    return read_posts([tmp_path / "posts.csv"], tmp_path / "posts")


def where_it_ran(_: int) -> str:
    import ray

    return ray.get_runtime_context().get_node_id()


def test_two_nodes_build_what_threads_build(
    engine: ClusterEngine, posts: Artifact, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mynah.corpus.documents._CHUNK_DOCUMENTS", 50)
    assert len(posts.counts["shards"]) > 3
    config = CorpusConfig(min_similarity=1.0)
    folder = tmp_path / "local"
    local = build_corpus(posts, folder, config=config, tokenizer=400, engine=LocalEngine(2))
    assert engine.num_workers == 2
    assert len(set(engine.map(where_it_ran, range(8)))) == 2
    folder = tmp_path / "remote"
    remote = build_corpus(posts, folder, config=config, tokenizer=400, engine=engine)
    assert remote.digest == local.digest
    assert remote.counts == local.counts


def test_results_come_in_order(engine: ClusterEngine) -> None:
    assert list(engine.map(abs, [-n for n in range(9)])) == list(range(9))


def test_no_cluster_is_one_clear_error() -> None:
    with (
        pytest.raises(ConfigError, match="no Ray cluster answers"),
        opened_cluster("127.0.0.1:1"),
    ):
        pass

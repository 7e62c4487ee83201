"""datatrove's MinHash on posts: JSONL to Parquet in its four stages. Runs in the peers' Python.

Word 2-grams in 20 buckets of 5 hashes: on posts these find far more than its defaults (5-grams,
14 of 8). Texts are compared as its own normalisation leaves them. Words come from its default
tokenizer (spaCy's English) or, which is cheaper, by splitting at spaces: `--words split`.
"""

import argparse
from pathlib import Path

from datatrove.executor import LocalPipelineExecutor
from datatrove.pipeline.dedup import (
    MinhashDedupBuckets,
    MinhashDedupCluster,
    MinhashDedupFilter,
    MinhashDedupSignature,
)
from datatrove.pipeline.dedup.minhash import MinhashConfig
from datatrove.pipeline.readers import JsonlReader
from datatrove.pipeline.writers import ParquetWriter
from datatrove.utils.typeshelper import Languages
from datatrove.utils.word_tokenizers import WordTokenizer


class SplitAtSpaces(WordTokenizer):
    """The cheapest tokenizer there is."""

    def word_tokenize(self, text: str) -> list[str]:
        """Split at white space."""
        return text.split()

    def sent_tokenize(self, text: str) -> list[str]:
        """Nothing asks for sentences."""
        return [text]

    def span_tokenize(self, text: str) -> list[tuple[int, int]]:
        """Nothing asks for spans."""
        return [(0, len(text))]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("posts", type=Path)
    parser.add_argument("out", type=Path, help="folder for the Parquet files")
    parser.add_argument("work", type=Path)
    parser.add_argument("--words", choices=["split", "spacy"], default="split")
    options = parser.parse_args()
    config = MinhashConfig(n_grams=2, num_buckets=20, hashes_per_bucket=5)
    words = SplitAtSpaces() if options.words == "split" else Languages.english
    reader = JsonlReader(
        str(options.posts.parent), glob_pattern=options.posts.name, text_key="text", id_key="id"
    )
    stages = {str(n): str(options.work / f"stage{n}") for n in (1, 2, 3)}
    signed = MinhashDedupSignature(output_folder=stages["1"], config=config, language=words)
    bucketed = MinhashDedupBuckets(
        input_folder=stages["1"], output_folder=stages["2"], config=config
    )
    clustered = MinhashDedupCluster(
        input_folder=stages["2"], output_folder=stages["3"], config=config
    )
    pipelines = [
        ([reader, signed], 1),
        ([bucketed], config.num_buckets),
        ([clustered], 1),
        (
            [reader, MinhashDedupFilter(input_folder=stages["3"]), ParquetWriter(str(options.out))],
            1,
        ),
    ]
    for number, (pipeline, tasks) in enumerate(pipelines):
        logs = str(options.work / f"logs{number}")
        LocalPipelineExecutor(pipeline=pipeline, tasks=tasks, workers=1, logging_dir=logs).run()


if __name__ == "__main__":
    main()

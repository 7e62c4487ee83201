"""Corpus: the post store as documents and token shards, ready to train on.

Reads a post store; writes ``corpus/<snapshot>/``. Whatever is left out is listed with its reason.
"""

from mynah.corpus.build import CORPUS_KIND, build_corpus
from mynah.corpus.clean import clean_text
from mynah.corpus.config import CorpusConfig
from mynah.corpus.dialogue_shard import DIALOGUES_KIND, build_dialogues
from mynah.corpus.dialogues import Dialogue, DialogueConfig, make_dialogues
from mynah.corpus.documents import Documents, choose_documents
from mynah.corpus.prompt import NO_ANSWER, SYSTEM, ShownPost, grounded_question, quotation
from mynah.corpus.shards import TokenShard, write_shard
from mynah.corpus.tokens import SPECIAL_TOKENS, DocumentEncoder, train_tokenizer

__all__ = [
    "CORPUS_KIND",
    "DIALOGUES_KIND",
    "NO_ANSWER",
    "SPECIAL_TOKENS",
    "SYSTEM",
    "CorpusConfig",
    "Dialogue",
    "DialogueConfig",
    "DocumentEncoder",
    "Documents",
    "ShownPost",
    "TokenShard",
    "build_corpus",
    "build_dialogues",
    "choose_documents",
    "clean_text",
    "grounded_question",
    "make_dialogues",
    "quotation",
    "train_tokenizer",
    "write_shard",
]

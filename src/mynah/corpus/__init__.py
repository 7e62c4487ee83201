"""Corpus: the post store as documents and token shards, ready to train on.

Reads a post store; writes ``corpus/<snapshot>/``. Whatever is left out is listed with its reason.
"""

from mynah.corpus.build import CORPUS_KIND, build_corpus
from mynah.corpus.clean import clean_text
from mynah.corpus.config import CorpusConfig
from mynah.corpus.dialogue_shard import DIALOGUES_KIND, build_dialogues
from mynah.corpus.dialogues import Dialogue, DialogueConfig, make_dialogues
from mynah.corpus.documents import SEPARATOR, Chosen, choose_documents
from mynah.corpus.engine import Engine, LocalEngine
from mynah.corpus.preference_shard import (
    PREFERENCES_KIND,
    PreferenceShardConfig,
    build_preferences,
    forget_in_preferences,
)
from mynah.corpus.prompt import NO_ANSWER, SYSTEM, ShownPost, grounded_question, quotation
from mynah.corpus.shards import TokenShard, write_shard
from mynah.corpus.taking_back import TakenBack, forget_in_corpus, forget_in_dialogues
from mynah.corpus.tokenizer import SPECIAL_TOKENS, train_tokenizer
from mynah.corpus.tokens import DocumentEncoder

__all__ = [
    "CORPUS_KIND",
    "DIALOGUES_KIND",
    "NO_ANSWER",
    "PREFERENCES_KIND",
    "SEPARATOR",
    "SPECIAL_TOKENS",
    "SYSTEM",
    "Chosen",
    "CorpusConfig",
    "Dialogue",
    "DialogueConfig",
    "DocumentEncoder",
    "Engine",
    "LocalEngine",
    "PreferenceShardConfig",
    "ShownPost",
    "TakenBack",
    "TokenShard",
    "build_corpus",
    "build_dialogues",
    "build_preferences",
    "choose_documents",
    "clean_text",
    "forget_in_corpus",
    "forget_in_dialogues",
    "forget_in_preferences",
    "grounded_question",
    "make_dialogues",
    "quotation",
    "train_tokenizer",
    "write_shard",
]

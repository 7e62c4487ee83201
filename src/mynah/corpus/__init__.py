"""Corpus: the post store as documents and token shards, ready to train on.

Reads a post store; writes ``corpus/<snapshot>/``. Whatever is left out is listed with its reason.
"""

from typing import TYPE_CHECKING

from mynah.loading import on_first_use

if TYPE_CHECKING:
    from mynah.corpus.build import build_corpus
    from mynah.corpus.clean import clean_text
    from mynah.corpus.config import CorpusConfig
    from mynah.corpus.dialogue_shard import build_dialogues
    from mynah.corpus.dialogues import Dialogue, DialogueConfig, make_dialogues
    from mynah.corpus.documents import Chosen, choose_documents
    from mynah.corpus.engine import Engine, LocalEngine
    from mynah.corpus.kinds import CORPUS_KIND, DIALOGUES_KIND, PREFERENCES_KIND, SEPARATOR
    from mynah.corpus.preference_shard import (
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

MODULES = {
    "CORPUS_KIND": "kinds",
    "DIALOGUES_KIND": "kinds",
    "NO_ANSWER": "prompt",
    "PREFERENCES_KIND": "kinds",
    "SEPARATOR": "kinds",
    "SPECIAL_TOKENS": "tokenizer",
    "SYSTEM": "prompt",
    "Chosen": "documents",
    "CorpusConfig": "config",
    "Dialogue": "dialogues",
    "DialogueConfig": "dialogues",
    "DocumentEncoder": "tokens",
    "Engine": "engine",
    "LocalEngine": "engine",
    "PreferenceShardConfig": "preference_shard",
    "ShownPost": "prompt",
    "TakenBack": "taking_back",
    "TokenShard": "shards",
    "build_corpus": "build",
    "build_dialogues": "dialogue_shard",
    "build_preferences": "preference_shard",
    "choose_documents": "documents",
    "clean_text": "clean",
    "forget_in_corpus": "taking_back",
    "forget_in_dialogues": "taking_back",
    "forget_in_preferences": "preference_shard",
    "grounded_question": "prompt",
    "make_dialogues": "dialogues",
    "quotation": "prompt",
    "train_tokenizer": "tokenizer",
    "write_shard": "shards",
}
"""Where each name is defined."""

__getattr__ = on_first_use(__name__, MODULES)

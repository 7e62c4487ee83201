"""Chat: answers made from posts, each sentence tied to the posts that support it.

Reads the search index and an engine; writes nothing.
"""

from mynah.chat.assistant import GREETING, Assistant
from mynah.chat.events import AnswerEvent, CitedPost, Finished, Retrieved, Sentence
from mynah.chat.grounding import Grounding
from mynah.chat.retrieval import Retrieval, retrieve
from mynah.chat.sentences import SentenceSplitter

__all__ = [
    "GREETING",
    "AnswerEvent",
    "Assistant",
    "CitedPost",
    "Finished",
    "Grounding",
    "Retrieval",
    "Retrieved",
    "Sentence",
    "SentenceSplitter",
    "retrieve",
]

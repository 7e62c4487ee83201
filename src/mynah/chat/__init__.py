"""Chat: answers made from posts, each sentence tied to the posts that support it.

Reads the search index and an engine; writes nothing.
"""

from mynah.chat.events import AnswerEvent, CitedPost, Finished, Retrieved, Sentence

__all__ = ["AnswerEvent", "CitedPost", "Finished", "Retrieved", "Sentence"]

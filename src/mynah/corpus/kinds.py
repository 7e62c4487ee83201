"""Words that other rooms need to read what this one writes, without loading how it is written.

Reads and writes nothing.
"""

__all__ = ["CORPUS_KIND", "DIALOGUES_KIND", "PREFERENCES_KIND", "SEPARATOR"]

CORPUS_KIND = "mynah.corpus/2"
"""Kind of the corpus artifact."""
DIALOGUES_KIND = "mynah.dialogues/2"
"""Kind of the dialogues' artifact."""
PREFERENCES_KIND = "mynah.preferences/1"
"""Kind of the artifact of preference pairs."""
SEPARATOR = "\n\n"
"""Stands between the turns of a document; a cleaned text has no line break of its own."""

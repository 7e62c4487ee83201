"""The command line: parses, calls one function, prints the answer. Nothing else.

Data goes to standard output, everything else to standard error. Exit codes: 0 done, 1 the answer
is no, 2 the caller erred, 3 we failed.
"""

from mynah.cli.main import app, main

__all__ = ["app", "main"]

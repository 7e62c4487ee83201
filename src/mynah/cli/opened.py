"""What several commands open: the parts of a workspace that are already built."""

from pathlib import Path

from mynah.errors import ConfigError
from mynah.posts import forgotten_ids
from mynah.search import SEARCH_KIND, SearchIndex
from mynah.workspace import Workspace, latest_artifact

__all__ = ["open_index", "open_workspace"]


def open_workspace(folder: Path) -> Workspace:
    """Return the workspace in ``folder``, which must be one already."""
    workspace = Workspace(folder.expanduser().absolute())
    if not workspace.settings.is_file():
        raise ConfigError(f"{folder} is no workspace", hint=f"make one: mynah up {folder}")
    return workspace


def open_index(folder: Path) -> SearchIndex:
    """Return the search index of a workspace."""
    workspace = open_workspace(folder)
    artifact = latest_artifact(workspace.search, kind=SEARCH_KIND)
    if artifact is None:
        raise ConfigError(f"{folder} has no search index", hint=f"build it: mynah up {folder}")
    return SearchIndex(artifact, forgotten=lambda: forgotten_ids(workspace.posts))

"""Web: the pages for people and the HTTP API for programs, on one server.

Reads every room through a ``House``; writes keys, campaigns and clicks.
"""

from mynah.web.app import create_app
from mynah.web.funnel import FunnelStep, funnel_steps
from mynah.web.house import House, Stage, StageState
from mynah.web.keys import KeyStore

__all__ = [
    "FunnelStep",
    "House",
    "KeyStore",
    "Stage",
    "StageState",
    "create_app",
    "funnel_steps",
]

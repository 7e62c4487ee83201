"""Verify: check a published record from scratch, with code that shares nothing with its writer.

Reads a log (a folder or a web server), a policy, keys, model folders; writes a report of what is
proved, what is not and what is contradicted.
"""

from mynah.record.verify.policy import Policy
from mynah.record.verify.report import Claim, Report
from mynah.record.verify.sources import LogSource, open_source
from mynah.record.verify.verify import (
    Trust,
    verify_head,
    verify_log,
    verify_proof,
    verify_with,
)

__all__ = [
    "Claim",
    "LogSource",
    "Policy",
    "Report",
    "Trust",
    "open_source",
    "verify_head",
    "verify_log",
    "verify_proof",
    "verify_with",
]

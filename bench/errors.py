"""What a user did wrong, in one line: the same errors that `hypersd` raises."""

from __future__ import annotations

from hypersd.errors import UsageError, brief, exit_code, listed, nearest

__all__ = ["UsageError", "brief", "exit_code", "listed", "nearest"]

"""Logs as lines of JSON, for machines to read."""

from __future__ import annotations

import json
import logging
import sys

__all__ = ["configure"]


class _Lines(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        told = {"time": self.formatTime(record), "level": record.levelname.lower(), "logger": record.name}
        message = record.getMessage()
        if record.name == "distilrec.access":
            told |= json.loads(message)
        else:
            told["message"] = message
        if record.exc_info:
            told["error"] = self.formatException(record.exc_info)
        return json.dumps(told, ensure_ascii=False)


def configure(*, requests: bool) -> None:
    """Log to stderr; requests: a line for each."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_Lines())
    logging.basicConfig(level=logging.INFO, handlers=[handler], force=True)
    logging.getLogger("distilrec.access").setLevel(logging.INFO if requests else logging.WARNING)

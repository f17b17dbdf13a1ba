"""A peer script's end of the pipe: requests come in, answers go out, a line of JSON each."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Sequence
from typing import Any

__all__ = ["serve"]


def serve(session: Callable[..., Any], arguments: Sequence[str]) -> None:
    """Make a session of the arguments, then call its methods as asked, until the other side closes the pipe.

    A request `{"do": "train", "seconds": 3}` calls `train(seconds=3)`, which returns the answer. What libraries print
    on standard output goes to standard error.
    """
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    made = session(*arguments)
    for line in sys.stdin:
        request = json.loads(line)
        answer = getattr(made, request.pop("do"))(**request)
        print(json.dumps(answer), file=answers, flush=True)

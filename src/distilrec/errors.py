"""What DistilRec raises.

```
DistilRecError
├── DataError          a file, column or row of the user's input (also a ValueError)
├── RecipeError        a setting that is unknown, missing or contradictory (also a ValueError)
├── ModelError         a model whose scores can't be used (also a ValueError)
├── SoftLabelError     a teacher or a store of soft labels that can't be trusted (also a ValueError)
├── ArtefactError      a damaged or incompatible file of ours (also a ValueError)
├── StateError         clicks and new items that a server can't keep or look up now (also an OSError)
├── FetchError         a named data set that could not be fetched (also an OSError)
└── MissingExtraError  an optional dependency isn't installed (also an ImportError)
```

Every message says what was wrong, where, and what to do.
"""

import importlib.util

__all__ = [
    "ArtefactError",
    "DataError",
    "DistilRecError",
    "FetchError",
    "MissingExtraError",
    "ModelError",
    "RecipeError",
    "SoftLabelError",
    "StateError",
    "require",
]


class DistilRecError(Exception):
    """Base of all errors that DistilRec raises on purpose."""


class DataError(DistilRecError, ValueError):
    """The user's data can't be used as they are."""


class RecipeError(DistilRecError, ValueError):
    """A recipe or setting is wrong."""


class ModelError(DistilRecError, ValueError):
    """A model's scores are NaN, infinite or of the wrong shape."""


class SoftLabelError(DistilRecError, ValueError):
    """A teacher's output, or a store of it, can't be trusted."""


class ArtefactError(DistilRecError, ValueError):
    """A file that DistilRec wrote is damaged or of another version."""


class StateError(DistilRecError, OSError):
    """A server's state can't be reached now; answers go on without it."""


class FetchError(DistilRecError, OSError):
    """A named data set could not be fetched."""


class MissingExtraError(DistilRecError, ImportError):
    """An optional dependency is missing."""


def require(module: str, extra: str, purpose: str) -> None:
    """Raise MissingExtraError, with the line that installs it, when `module` can't be imported.

    >>> require("json", "train", "training")
    """
    if importlib.util.find_spec(module) is None:
        raise MissingExtraError(
            f"{purpose} needs the package {module!r}, which isn't installed; "
            f"install it with: pip install 'distilrec[{extra}]'"
        )

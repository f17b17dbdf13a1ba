"""The settings of the data stage."""

from __future__ import annotations

from typing import Annotated, Literal, TypeAlias

from pydantic import BaseModel, ConfigDict, Field

from distilrec.data.build import Repeats
from distilrec.data.columns import Columns, ItemColumns
from distilrec.data.content import Modality
from distilrec.data.files import FileFormat
from distilrec.data.split_kinds import LeaveLastOut, SplitConfig

__all__ = ["DataConfig", "ItemsConfig", "Preparation"]

ContentName: TypeAlias = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9_-]*$")]


class Preparation(BaseModel):
    """What to do with a log, wherever it came from.

    like_threshold: ratings at or above it are liked, those below disliked; None takes every row as liked, or
    what the label column says.
    use_negatives: keep the disliked rows (for click and like prediction) instead of dropping them.
    repeats: of several rows of one user and item keep the `first` or the `last` in time, or `keep` all.
    Held-out items that the user took before would be masked and could never be found, hence the default.
    min_user_interactions, min_item_interactions: drop users and items with fewer liked rows, until none is
    left.
    split: how to cut the log in train, validation and test; of several domains, each by itself.
    twins: what to do with two items of different domains that nearly the same users took, most likely one thing under
    two ids: `keep` both, or `drop` the one in the larger domain before anything is split.
    domain: take only this one of the domains that columns.domain tells apart; what is said above is done before.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    like_threshold: float | None = Field(default=None, allow_inf_nan=False)
    use_negatives: bool = True
    repeats: Repeats = "first"
    min_user_interactions: int = Field(default=1, ge=1)
    min_item_interactions: int = Field(default=1, ge=1)
    split: SplitConfig = LeaveLastOut()
    twins: Literal["keep", "drop"] = "keep"
    domain: str | None = None


class ItemsConfig(BaseModel):
    """A file with one row per item; columns are guessed where they aren't given.

    path: of the file, or its name in the folder that DISTILREC_DATA points to.

    content: what can be known of an item before anyone takes it, by names such as `text` or `poster`.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    path: str
    format: FileFormat = "auto"
    columns: ItemColumns | None = None
    content: dict[ContentName, Modality] = Field(default_factory=dict)


class DataConfig(Preparation):
    """Where the data are, and what to do with them.

    source: a file, a named set (`ml-100k`, `ml-1m`), or a name in the folder that DISTILREC_DATA points to.
    columns: what the columns mean; guessed, and noted, where not given.
    items: where not given, the items.parquet that lies beside interactions.parquet, and RecBole's NAME.item beside
    NAME.inter.

    >>> DataConfig(source="log.csv", split={"kind": "random", "seed": 3}).split.seed
    3
    """

    source: str
    format: FileFormat = "auto"
    columns: Columns | None = None
    items: ItemsConfig | None = None

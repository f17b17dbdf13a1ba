"""Interaction logs, ids, histories, splits and batches; where they come from and what is wrong with them."""

from distilrec.errors import require

for _package in ("polars", "pyarrow", "narwhals"):
    require(_package, "data", "reading interaction logs")

from distilrec.data.audit import Finding, audit, audit_domain
from distilrec.data.columns import Columns, ItemColumns
from distilrec.data.config import DataConfig, ItemsConfig, Preparation
from distilrec.data.content import Contents, Modality, ModalityKind, contents_of
from distilrec.data.describe import Description, describe
from distilrec.data.domains import Domains, Places, taken_elsewhere
from distilrec.data.features import Features, FeatureWriter
from distilrec.data.guess import Guess, guess, guess_items
from distilrec.data.interactions import Dataset, Ids, Interactions
from distilrec.data.items import categories_of
from distilrec.data.load import Prepared, from_dataframe, load
from distilrec.data.named import NAMED_SETS, data_homes, named_folder
from distilrec.data.sampling import (
    Batch,
    Batches,
    PairBatches,
    SequenceBatches,
    UserBatches,
    final_queries,
    prefix_queries,
    seen_at,
)
from distilrec.data.snapshot import Snapshot
from distilrec.data.split_kinds import (
    ColdItems,
    ColdUsers,
    ColumnSplit,
    GlobalTime,
    LeaveLastOut,
    Part,
    RandomSplit,
    SplitConfig,
)
from distilrec.data.splits import Split, labelled_queries, split, split_negatives
from distilrec.data.synthetic import clusters, cycles, zipf
from distilrec.data.table import to_table

__all__ = [
    "NAMED_SETS",
    "Batch",
    "Batches",
    "ColdItems",
    "ColdUsers",
    "ColumnSplit",
    "Columns",
    "Contents",
    "DataConfig",
    "Dataset",
    "Description",
    "Domains",
    "FeatureWriter",
    "Features",
    "Finding",
    "GlobalTime",
    "Guess",
    "Ids",
    "Interactions",
    "ItemColumns",
    "ItemsConfig",
    "LeaveLastOut",
    "Modality",
    "ModalityKind",
    "PairBatches",
    "Part",
    "Places",
    "Preparation",
    "Prepared",
    "RandomSplit",
    "SequenceBatches",
    "Snapshot",
    "Split",
    "SplitConfig",
    "UserBatches",
    "audit",
    "audit_domain",
    "categories_of",
    "clusters",
    "contents_of",
    "cycles",
    "data_homes",
    "describe",
    "final_queries",
    "from_dataframe",
    "guess",
    "guess_items",
    "labelled_queries",
    "load",
    "named_folder",
    "prefix_queries",
    "seen_at",
    "split",
    "split_negatives",
    "taken_elsewhere",
    "to_table",
    "zipf",
]

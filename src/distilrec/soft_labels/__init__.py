"""The teacher's knowledge on disk: recorded once, read in batches by the training of students."""

from distilrec.soft_labels.batch import SoftBatch
from distilrec.soft_labels.config import RecordConfig, forecast
from distilrec.soft_labels.manifest import Kind, Manifest
from distilrec.soft_labels.record import record
from distilrec.soft_labels.table import SoftLabels
from distilrec.soft_labels.temperature import fit_temperature

__all__ = [
    "Kind",
    "Manifest",
    "RecordConfig",
    "SoftBatch",
    "SoftLabels",
    "fit_temperature",
    "forecast",
    "record",
]

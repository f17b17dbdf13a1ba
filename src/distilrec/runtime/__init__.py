"""A bundle as it serves: NumPy and ONNX Runtime, no tables, no torch."""

from distilrec.runtime.ids import Ids
from distilrec.runtime.manifest import ExportInfo, Lineage, Manifest, StudentInfo
from distilrec.runtime.served import HeldOut, Served
from distilrec.runtime.student import Student

__all__ = ["ExportInfo", "HeldOut", "Ids", "Lineage", "Manifest", "Served", "Student", "StudentInfo"]

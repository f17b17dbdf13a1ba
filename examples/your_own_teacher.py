"""Teach a student with any object that can score items: here, a blend that is not part of DistilRec.

    python examples/your_own_teacher.py [LOG.csv] [--out runs/your_own_teacher]

Without a file MovieLens 100k is used, fetched once by name. The teacher needs a size, a flag and one method.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from distilrec.data import DataConfig, Interactions, final_queries, load
from distilrec.distillation import DistillationConfig, distil
from distilrec.models import MatrixFactorization, MatrixFactorizationConfig, Supervision, fit
from distilrec.ranking import evaluate
from distilrec.scoring import Queries, Recommender
from distilrec.soft_labels import RecordConfig, record
from distilrec.training import TrainingConfig


class TakenTogether:
    """How often an item came within ten interactions after each of the user's last items."""

    scores_are_logits = False  # so that a temperature is fitted on validation

    def __init__(self, train: Interactions) -> None:
        self.n_items = train.n_items
        users, positions = train.flat()
        items = train.histories.values[positions]
        self.counts = torch.zeros(self.n_items, self.n_items)
        for steps in range(1, 11):
            same_user = users[:-steps] == users[steps:]
            pairs = (torch.from_numpy(items[:-steps][same_user]), torch.from_numpy(items[steps:][same_user]))
            self.counts.index_put_(pairs, torch.tensor(1.0 / steps), accumulate=True)
        self.counts /= (self.counts.sum(0) + 10).sqrt()

    def score(self, queries: Queries) -> Tensor:
        """(B, N) float32: all items for each query."""
        scores = torch.zeros(len(queries), self.n_items)
        rows, positions = queries.histories.positions()
        age = queries.histories.stops[rows] - positions
        weights = torch.from_numpy((0.9**age).astype(np.float32))
        items = torch.from_numpy(queries.histories.values[positions])
        return scores.index_add_(0, torch.from_numpy(rows), self.counts[items] * weights.unsqueeze(1))


def main() -> None:
    """Run the example."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("log", nargs="?", default="ml-100k", help="a file of interactions, or a named data set")
    parser.add_argument("--out", type=Path, default=Path("runs/your_own_teacher"))
    arguments = parser.parse_args()
    prepared = load(DataConfig(source=arguments.log))
    split, n_users, n_items = prepared.split, prepared.split.train.n_users, prepared.split.train.n_items

    teacher = TakenTogether(split.train)
    queries, ids = final_queries(split.train)
    labels = record(
        teacher,
        queries,
        ids,
        arguments.out,
        RecordConfig(),
        seed=0,
        data_fingerprint=prepared.dataset.fingerprint,
        teacher_fingerprint="taken together within ten",
        validation=split.queries("validation"),
        held_out=split.held_out,
    )

    small = MatrixFactorizationConfig(embedding_size=8)
    training = TrainingConfig(batch_size=64, learning_rate=0.01, epochs=100)
    torch.manual_seed(0)
    alone, distilled = (MatrixFactorization(small, n_users, n_items) for _ in range(2))
    fit(alone, split, Supervision(), training, seed=0)
    soft = DistillationConfig(alpha=1.0, tail="sampled")
    distil(distilled, split, labels, soft, Supervision(), training, seed=0)

    test = split.queries("test")
    arms: dict[str, Recommender] = {"teacher": teacher, "student alone": alone, "distilled student": distilled}
    for name, model in arms.items():
        print(f"{name:18s} NDCG@10 {evaluate(model, *test, ['ndcg@10'])['ndcg@10'].mean():.4f}")


if __name__ == "__main__":
    main()

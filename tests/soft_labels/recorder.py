"""A recording to be killed: `python recorder.py FOLDER` prints the number of rows done."""

import sys
import time

import numpy as np
import torch

from distilrec.scoring import Queries, Ragged
from distilrec.soft_labels import RecordConfig, record

N_QUERIES, N_ITEMS = 400, 40


class SlowTeacher:
    """Answers a block in a few milliseconds."""

    n_items = N_ITEMS
    scores_are_logits = False

    def __init__(self) -> None:
        self.scores = torch.randn(N_QUERIES, N_ITEMS, generator=torch.Generator().manual_seed(0))

    def score(self, queries: Queries) -> torch.Tensor:
        time.sleep(0.005)  # so that the kill falls within the recording; no outcome depends on it
        return self.scores[torch.from_numpy(queries.users).long()]


def progress(done: int, _total: int) -> None:
    sys.stdout.write(f"{done}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    users = np.arange(N_QUERIES, dtype=np.int32)
    queries = Queries(users, Ragged.from_rows([[user % 7] for user in range(N_QUERIES)]))
    record(
        SlowTeacher(),
        queries,
        users[::-1],
        sys.argv[1],
        RecordConfig(k=5, tail=6, shard_rows=7),
        seed=1,
        data_fingerprint="data",
        teacher_fingerprint="teacher",
        validation=(queries, Ragged.from_rows([[7 + user % 33] for user in range(N_QUERIES)])),
        progress=progress,
    )

import numpy as np
import torch

from distilrec.models import MatrixFactorizationConfig, Supervision, build
from distilrec.scoring import Queries, Ragged
from distilrec.testing import UserContract


class TestSoftmax(UserContract):
    config = MatrixFactorizationConfig(embedding_size=32, dropout=0.1)


class TestBPR(UserContract):
    config = MatrixFactorizationConfig(embedding_size=32)
    supervision = Supervision(loss="bpr", negatives=4)


class TestBCE(UserContract):
    config = MatrixFactorizationConfig(embedding_size=32)
    supervision = Supervision(loss="bce", negatives=4)


class TestSampledSoftmaxWithoutBias(UserContract):
    config = MatrixFactorizationConfig(embedding_size=32, item_bias=False)
    supervision = Supervision(loss="sampled_softmax", negatives=20)


class TestLabelSmoothingAndRecency(UserContract):
    config = MatrixFactorizationConfig(embedding_size=32)
    supervision = Supervision(label_smoothing=0.1, recency_half_life=20.0)


def test_a_stranger_gets_the_mean_user():
    """Index -1 would quietly be the last user."""
    model = build(MatrixFactorizationConfig(embedding_size=4), 3, 5, seed=0)
    hidden = model.hidden(Queries(np.array([-1, 2], np.int32), Ragged.from_rows([[], []])))
    torch.testing.assert_close(hidden, torch.stack([model.users.mean(0), model.users[2]]))

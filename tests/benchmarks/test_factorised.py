"""A truncated singular value decomposition, without the matrix that is decomposed."""

import numpy as np
import torch

from benchmarks.factorised import factorise


def test_it_is_the_nearest_of_that_rank():
    rng = np.random.default_rng(0)
    hidden, vectors, bias = (
        torch.from_numpy(rng.normal(1, 1, size).astype(np.float32)) for size in ((30, 6), (20, 6), 20)
    )
    scores = (hidden @ vectors.T + bias).double().numpy()
    about = scores - scores.mean(1, keepdims=True)
    about -= about.mean(0)
    u, values, v = np.linalg.svd(about)
    for width in (2, 6):
        users, items, own = factorise(hidden, vectors, bias, width)
        found = (users @ items.T + own).double().numpy()
        expected = (u[:, :width] * values[:width]) @ v[:width] + (scores - scores.mean(1, keepdims=True)).mean(0)
        np.testing.assert_allclose(found, expected, atol=1e-4)

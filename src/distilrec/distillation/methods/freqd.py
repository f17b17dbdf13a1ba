"""Feature distillation that weighs low frequencies more."""

from __future__ import annotations

from typing import Any, ClassVar, Literal

import numpy as np
import scipy.sparse
import torch
from numpy.typing import NDArray
from pydantic import Field
from torch import Tensor, nn

from distilrec.data import Batch
from distilrec.distillation.features import Side, item_vectors, widths
from distilrec.distillation.graphs import Graph, co_occurrence_graph, incidence
from distilrec.distillation.method import Method, Need, Setting, Step, Term
from distilrec.losses.feature import knowledge

__all__ = ["FreqD"]


class FreqD(Method):
    """Half the squared distance between the teacher's vectors and a map of the student's, both smoothed over a graph.

    Smoothed means (1 - smoothing) times a vector plus `smoothing` times the normalised sum of its neighbours', so that
    what neighbours share counts more than what sets them apart. Items are near when many users took both, users
    when they took many items in common, by the training log. For students that read histories only items count: their
    queries are not nodes of a graph. Otherwise the losses of the batch's users and of its items are added.
    neighbours: kept per node. smoothing: alpha, in [0, 1]. keep: probability that an edge is used in a step, whose
    weight is divided by it.

    With `smoothing` 0 it is `fitnet`. Beside the batch's nodes their neighbours' vectors are looked up; a LightGCN
    student smooths its own once more in each step. Graphs are made once, with work up to the sum of squares of
    how many users an item has, and items a user.

    Source: Zhu and Zhang, A Frequency Perspective, KDD 2025 (arXiv 2411.10676); formula and settings after its code
    (FreqD of woriazzc/KDs: alpha for BPR on CiteULike, neighbours and keep for BPR on Gowalla).
    Deviations: the map is linear, without a bias (there the mean of five networks with a hidden layer and dropout).
    Distances are compared; the code's settings for Gowalla compare directions. Items that are sampled as negatives
    don't take part. A node is never its own neighbour, nor are two without anything in common; there both may happen.
    Of an item with more than 1,000 users so many count in the users' graph, and likewise for the items'. Users whose
    queries weren't recorded and items that the teacher doesn't know aren't in the graphs. The loss is half a mean over
    nodes and the teacher's dimensions (theirs: a sum over both).
    """

    needs: ClassVar[tuple[Need, ...]] = ("hidden", "item_vectors")

    method: Literal["freqd"] = "freqd"
    neighbours: int = Field(default=5, ge=1)
    smoothing: float = Field(default=0.2, ge=0, le=1)
    keep: float = Field(default=0.5, gt=0, le=1)

    def term(self, setting: Setting) -> Term:
        """See `Method.term`."""
        return _Term(self, setting)


class _Term(Term):
    def __init__(self, method: FreqD, setting: Setting) -> None:
        super().__init__()
        self.method = method
        log, labels = setting.log, setting.labels
        users, positions = log.flat()
        items = log.histories.values[positions]
        known = items < labels.manifest.n_items
        n_users, n_items = log.n_users, labels.manifest.n_items
        members = incidence(items[known], users[known], (n_items, n_users))
        self.graphs: dict[Side, Graph] = {"item": co_occurrence_graph(members, method.neighbours)}
        self.first_id = len(log.histories.values)
        if not setting.student.reads_histories:
            known &= labels.rows(self.first_id + np.arange(n_users))[users] >= 0
            members = incidence(users[known], items[known], (n_users, n_items))
            self.graphs["query"] = co_occurrence_graph(members, method.neighbours)
        self.maps = nn.ModuleDict(
            {side: setting.module(f"freqd {side}", nn.Linear, *widths(setting), bias=False) for side in self.graphs}
        )

    def forward(self, step: Step) -> Tensor:
        loss = self._distance(step, "item", step.items.cpu().numpy(), None)
        if "query" in self.graphs:
            loss = loss + self._distance(step, "query", step.batch.users, step.weights * step.soft.recorded)
        return loss

    def _distance(self, step: Step, side: Side, rows: NDArray[np.int64], weights: Tensor | None) -> Tensor:
        """Of the nodes (R,), each once or more."""
        smoother, nodes = _smoother(self.graphs[side], rows, self.method, step.rng)
        if side == "query":
            student, teacher = self._user_vectors(step, nodes)
        else:
            student, teacher, _ = item_vectors(step, step.student.tensor(nodes))
        smooth: Tensor = _Product.apply(smoother, student)  # type: ignore[no-untyped-call]
        # A linear map may come before or after; there are fewer numbers to smooth before.
        return knowledge(self.maps[side](smooth), step.student.tensor(smoother @ teacher.cpu().numpy()), weights)

    def _user_vectors(self, step: Step, users: NDArray[np.int64]) -> tuple[Tensor, Tensor]:
        """Student's and teacher's; zeros for users that weren't recorded."""
        none, ids = np.empty(0, np.int64), self.first_id + users
        unweighed = none.astype(np.float32)
        batch = Batch(users, None, np.arange(len(users)), ids, none, none, unweighed, none, none, unweighed)
        return step.student.encode(batch), step.labels.hidden(step.labels.rows(ids))


def _smoother(
    graph: Graph, rows: NDArray[np.int64], method: FreqD, rng: np.random.Generator
) -> tuple[Graph, NDArray[np.int64]]:
    """Rows (R,) of the filter (1 - smoothing) I + smoothing A, with edges left out, and which nodes it reads.

    (R, n) sparse float32, and (n,) int64 ascending: its columns.
    """
    part = graph[rows]
    part.data *= (rng.random(part.nnz, dtype=np.float32) < method.keep) * np.float32(method.smoothing / method.keep)
    part.eliminate_zeros()
    itself = (np.full(len(rows), 1 - method.smoothing, np.float32), rows, np.arange(len(rows) + 1))
    smoother = (scipy.sparse.csr_array(itself, shape=part.shape) + part).tocsr()
    nodes = np.zeros(graph.shape[0], np.bool_)
    nodes[smoother.indices] = True
    places = np.cumsum(nodes) - 1
    entries = (smoother.data, places[smoother.indices], smoother.indptr)
    return scipy.sparse.csr_array(entries, shape=(len(rows), int(nodes.sum()))), np.flatnonzero(nodes)


class _Product(torch.autograd.Function):
    """A sparse matrix times a dense one; torch's own gradient of it takes several times as long."""

    @staticmethod
    def forward(ctx: Any, sparse: Graph, dense: Tensor) -> Tensor:
        ctx.sparse = sparse
        product: Tensor = torch.sparse.mm(_tensor(sparse, dense.device), dense)
        return product

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[None, Tensor]:
        return None, torch.sparse.mm(_tensor(ctx.sparse.T.tocsr(), gradient.device), gradient)


def _tensor(sparse: Graph, device: torch.device) -> Tensor:
    ends, columns = (torch.from_numpy(part.astype(np.int64)) for part in (sparse.indptr, sparse.indices))
    values = torch.from_numpy(sparse.data)
    made: Tensor = torch.sparse_csr_tensor(ends, columns, values, sparse.shape, device=device)
    return made

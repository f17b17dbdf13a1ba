"""The whole student as one graph: a history in, the best items and their scores out."""

from __future__ import annotations

import warnings
from pathlib import Path

import torch
from torch import Tensor, nn

from distilrec.errors import ModelError, require
from distilrec.export.graphs import OPSET
from distilrec.models import DotProductModel, SequenceModel

__all__ = ["Whole", "example", "write_onnx"]


class Whole(nn.Module):
    """history (B, L) int64, L at least 1, oldest first, -1 after its end -> items (B, k) int64, scores (B, k) float32.

    Items are places, in the order of the bundle's items, -1 (and a score of -inf) where fewer than k are left; those of
    the history don't come back. Of a history that is
    longer than the model reads, the last items are read. A student that looks users up takes their places (B,) int64,
    -1 for anyone else, before the history, which then only says what is left out.
    int8: item vectors as whole numbers with a scale per row, as `save_model` rounds them; the rest stays as it is.
    every: a third output, the scores of all items (B, N), those of the history too.
    """

    def __init__(self, model: DotProductModel, k: int, *, int8: bool = False, every: bool = False) -> None:
        super().__init__()
        if not 1 <= k <= model.n_items:
            raise ModelError(f"k must lie in 1..{model.n_items}, the number of items, given {k}")
        self.model, self.k, self.every = model, k, every
        vectors, bias = model.item_vectors().detach(), model.item_bias()
        scale = vectors.abs().amax(1).clamp(min=torch.finfo(torch.float32).tiny) / 127
        self.register_buffer("codes", (vectors / scale.unsqueeze(1)).round().to(torch.int8) if int8 else vectors)
        self.register_buffer("scale", scale if int8 else None)
        self.register_buffer("bias", None if bias is None else bias.detach())
        users = None if isinstance(model, SequenceModel) else _users(model)
        self.register_buffer("users", users)
        self.codes: Tensor
        self.scale: Tensor | None
        self.bias: Tensor | None
        self.users: Tensor | None

    @property
    def inputs(self) -> list[str]:
        """Their names, in order."""
        return ["history"] if self.users is None else ["user", "history"]

    @property
    def outputs(self) -> list[str]:
        """Their names, in order."""
        return ["items", "scores", *(["every"] if self.every else [])]

    def forward(self, *given: Tensor) -> tuple[Tensor, ...]:
        """The k best items and their scores, and where asked for every item's."""
        history = given[-1]
        known = history >= 0
        if self.users is None:
            hidden = self._read(history, known)
        else:
            hidden = self.users[torch.where(given[0] < 0, len(self.users) - 1, given[0])]
        scores = hidden @ self.codes.float().T
        if self.scale is not None:
            scores = scores * self.scale
        if self.bias is not None:
            scores = scores + self.bias
        # What has been taken, in a column behind the items', where padding goes.
        taken = torch.zeros_like(scores[:, :1]).expand(-1, scores.shape[1] + 1)
        taken = taken.scatter(1, torch.where(known, history, scores.shape[1]), 1.0)
        values, items = scores.masked_fill(taken[:, :-1] > 0, -torch.inf).topk(self.k, dim=1)
        items = items.masked_fill(values < torch.finfo(values.dtype).min, -1)
        return (items, values, scores) if self.every else (items, values)

    def _read(self, history: Tensor, known: Tensor) -> Tensor:
        assert isinstance(self.model, SequenceModel)
        lengths = known.long().sum(1, keepdim=True)
        read = lengths.clamp(max=self.model.history_length)
        steps = torch.arange(self.model.history_length)[: history.shape[1]]  # as many as there are, at most
        places = (lengths - read + steps).clamp(max=history.shape[1] - 1)
        items = history.gather(1, places).clamp(min=0)
        vectors = self.codes[items].float()
        if self.scale is not None:
            vectors = vectors * self.scale[items].unsqueeze(2)
        states = self.model.end_states(vectors, (read - 1).clamp(min=0).squeeze(1))
        return states * (lengths > 0)  # nothing is known of an empty history


def _users(model: DotProductModel) -> Tensor:
    """(U + 1, D): the users' vectors, and behind them that of anyone else: their mean."""
    users = model.serving_state()["users"].detach()
    return torch.cat([users, users.mean(0, keepdim=True)])


def example(whole: Whole, rows: int, length: int) -> tuple[Tensor, ...]:
    """Inputs of that shape; row by row one item less is real."""
    history = torch.arange(rows * length).reshape(rows, length) * 7 % whole.model.n_items
    history = history.masked_fill(torch.arange(length) >= length - torch.arange(rows).unsqueeze(1), -1)
    users = torch.arange(rows) % max(1, whole.model.n_users) - 1
    return (history,) if whole.users is None else (users, history)


def write_onnx(whole: Whole, path: Path) -> None:
    """Write it as one ONNX file, of any number of queries and any length of histories."""
    require("onnx", "train", "an export to ONNX")
    sizes = {"history": {0: "queries", 1: "length"}, "user": {0: "queries"}}
    outputs = {name: {0: "queries"} for name in whole.outputs}
    with torch.inference_mode(), warnings.catch_warnings(action="ignore"):  # the exporter warns of its age
        torch.onnx.export(
            whole.eval(),
            example(whole, 2, 5),
            path,
            input_names=whole.inputs,
            output_names=whole.outputs,
            dynamic_axes={**{name: sizes[name] for name in whole.inputs}, **outputs},
            opset_version=OPSET,
            dynamo=False,
            do_constant_folding=False,  # it would write whole numbers out as floats, and the items' vectors twice
        )

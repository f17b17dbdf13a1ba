"""New items among those that training has seen, whose own vectors stay as they are."""

from __future__ import annotations

from collections.abc import Collection, Sequence

import numpy as np
import torch
from torch import Tensor, nn

from distilrec.models.ridge import Ridge
from distilrec.models.tower import ROWS, Catalogue, ContentConfig, ContentMaps, Part

__all__ = ["Placement"]

STRENGTH = 3.0  # of the ridge regression


class Placement(ContentMaps):
    """v_i = the item's own row, where training has seen it; else c + sum_m W_m x_im over what is known of it.

    x_im: the modality's principal components. W and c begin at a ridge regression to the rows of items that training
    has seen, and then learn from the model's own labels. An item of which nothing is known has c, the mean item. Our
    own design.
    """

    def __init__(
        self, config: ContentConfig, n_items: int, width: int, std: float, catalogue: Catalogue | None
    ) -> None:
        super().__init__(config, n_items, width, std, catalogue)
        self.mean = nn.Parameter(torch.zeros(width))
        if catalogue is None:  # it is read from disk, where it was folded
            for part in filter(_is_folded, self.each_part()):
                _fold(part)

    def forward(self, withheld: Collection[str] = (), as_new: float = 0.0) -> Tensor:
        """(N, D): the vectors of all items. In training their rows, unless some are to be known by their content.

        withheld: modalities that aren't known. as_new: the share of items with content, drawn anew, that are known by
        it.
        """
        assert self.ids is not None  # whoever has the content has them
        assert self.trained is not None
        if self.training and not as_new:
            return self.ids[:]  # a module would take a parameter for one more of its own
        known = self._known_but(withheld)
        new = ~torch.from_numpy(self.trained)
        if as_new:
            new = new | ((torch.rand(len(known)) < as_new) & known.any(1))
            known = known & (torch.rand(known.shape) >= self.config.modality_dropout)
        return torch.where(new.unsqueeze(1), self._mixed(self._mapped(), known), self.ids)

    def begin_(self) -> None:
        """Set the maps to what a ridge regression expects of an item, from those that training has seen, in place.

        For the regression each modality has a total variance of one.
        """
        assert self.ids is not None
        assert self.trained is not None
        rows = torch.from_numpy(np.flatnonzero(self.trained))
        known, scales = self._known[rows], []
        for x, there in zip(self._inputs, known.T, strict=True):
            variance = float(x[rows[there]].square().sum() / there.sum())
            scales.append(max(variance, 1e-24) ** 0.5)

        def block(some: slice) -> Tensor:
            of_each = zip(self._inputs, known[some].T, scales, strict=True)
            return torch.cat([x[rows[some]] * there.unsqueeze(1) / scale for x, there, scale in of_each], dim=1)

        blocks = (block(slice(begin, begin + ROWS)) for begin in range(0, len(rows), ROWS))
        weights, mean = Ridge(blocks, self.ids[rows].detach()).solve(STRENGTH)
        by_part = torch.split(weights, [x.shape[1] for x in self._inputs])
        with torch.no_grad():
            self.mean.copy_(mean)
            for part, scale, weight in zip(self.each_part(), scales, by_part, strict=True):
                part.last.weight.copy_(weight.T / scale)
                part.last.bias.zero_()

    def fold_(self) -> None:
        """Make each map and its principal components one where that is smaller, in place; answers stay as they are.

        All components of an image encoder's vectors are a matrix of some megabytes, and what both make together is one
        of the width of an item's vector.
        """
        for place, part in enumerate(self.each_part()):
            basis = part.components.basis
            if basis is not None and _is_folded(part):
                lengths = basis.square().sum(0).clamp(min=torch.finfo(basis.dtype).tiny)
                self._inputs[place] = (self._inputs[place] / lengths) @ basis.T
                _fold(part)

    def content_requires_grad_(self) -> None:
        """Let all be trained but the items' own rows."""
        self.parts.requires_grad_(True)
        self.mean.requires_grad_(True)

    def add_to_new_(self, shift: Tensor) -> None:
        """As ContentMaps', of all items that are known by content alone."""
        with torch.no_grad():
            self.mean.add_(shift)

    def add_to_biases_(self, state: Tensor) -> None:
        """Add state . v to the bias b behind each item's vector v, of new items too, in place; v stays as it is."""
        super().add_to_biases_(state)
        with torch.no_grad():
            self.mean[-1] += state @ self.mean[:-1]

    def _mixed(self, sources: Sequence[Tensor], known: Tensor) -> Tensor:
        mixed: Tensor = self.mean
        for source, there in zip(sources, known.T, strict=True):
            mixed = mixed + source * there.unsqueeze(1)
        return mixed


def _is_folded(part: Part) -> bool:
    """Whether a map of whole vectors (W, D) has fewer numbers than one of their K components, and these."""
    assert part.components.basis is not None
    wide, kept = part.components.basis.shape
    return wide * part.last.out_features < kept * (wide + part.last.out_features)


def _fold(part: Part) -> None:
    basis, last = part.components.basis, part.last
    assert basis is not None
    last.weight, last.in_features = nn.Parameter(last.weight.detach() @ basis.T), len(basis)
    part.components.basis = None

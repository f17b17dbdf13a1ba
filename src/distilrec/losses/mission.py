"""The loss that DistilRec is named for: true labels, soft labels and hidden states together."""

from __future__ import annotations

from torch import Tensor

from distilrec.losses._common import check_distribution, check_shape, masked_log_softmax, weighted_mean
from distilrec.losses.feature import knowledge
from distilrec.losses.response import cross_entropy_with_logits

__all__ = ["combine", "mission_loss"]


def combine(
    supervised: Tensor,
    response: Tensor,
    feature: Tensor | None = None,
    *,
    alpha: float,
    knowledge_weight: float = 0.0,
) -> Tensor:
    """(1 - alpha) * supervised + alpha * response + knowledge_weight * feature.

    supervised, response, feature: losses (), already reduced. alpha: in [0, 1]; 0 is the student alone.
    knowledge_weight: lambda, at least 0; above 0 it needs the feature loss.
    Raises ValueError on arguments that don't fit.

    >>> import torch
    >>> combine(torch.tensor(1.0), torch.tensor(3.0), alpha=0.25).item()
    1.5
    """
    for name, loss in (("supervised", supervised), ("response", response), ("feature", feature)):
        if loss is not None:
            check_shape(f"combine: {name}", loss, (), "reduce each loss to its mean first")
    if not 0.0 <= alpha <= 1.0:
        raise ValueError(f"combine: alpha must lie in [0, 1], given {alpha}")
    if not 0.0 <= knowledge_weight < float("inf"):
        raise ValueError(f"combine: knowledge_weight must be at least 0 and finite, given {knowledge_weight}")
    if (feature is None) != (knowledge_weight == 0.0):
        raise ValueError(
            f"combine: knowledge_weight is {knowledge_weight} and the feature loss is "
            f"{'missing' if feature is None else 'given'}; one without the other would have no effect"
        )
    mixed = (1.0 - alpha) * supervised + alpha * response
    return mixed if feature is None else mixed + knowledge_weight * feature


def mission_loss(
    student_scores: Tensor,
    teacher_scores: Tensor,
    mask: Tensor,
    labels: Tensor,
    student_hidden: Tensor | None = None,
    teacher_hidden: Tensor | None = None,
    *,
    alpha: float = 0.5,
    temperature: float = 1.0,
    knowledge_weight: float = 0.0,
) -> Tensor:
    """(1 - alpha) CE(y, p_s) + alpha tau^2 CE(p_t, p_s) + lambda L_knowledge, as in the mission.

    student_scores, teacher_scores: (B, C) logits of the same candidates; p_s in the first term is at
    temperature 1, p_t and p_s in the second at tau. mask: (B, C) bool, True where the candidate counts.
    labels: (B, C), the true distribution y of each row over its candidates. student_hidden, teacher_hidden:
    (B, D), given together exactly when knowledge_weight (lambda) is above 0. alpha: in [0, 1].
    All terms are means over rows (and over D), where the original has sums. Nothing flows back into the
    teacher. Joint training calls it twice, with the roles exchanged.
    Raises ValueError or TypeError on arguments that don't fit, SoftLabelError on a teacher's NaN or infinity.

    >>> import torch
    >>> scores, mask = torch.zeros(1, 2), torch.ones(1, 2, dtype=torch.bool)
    >>> loss = mission_loss(scores, scores, mask, torch.tensor([[0.0, 1.0]]))
    >>> round(loss.item(), 4)  # log 2
    0.6931
    """
    response = cross_entropy_with_logits(student_scores, teacher_scores, mask, temperature=temperature)
    supervised = _label_cross_entropy(student_scores, labels, mask)
    if student_hidden is None or teacher_hidden is None:
        if student_hidden is not teacher_hidden:
            raise ValueError("mission_loss: expected both student_hidden and teacher_hidden or neither")
        return combine(supervised, response, alpha=alpha, knowledge_weight=knowledge_weight)
    feature = knowledge(student_hidden, teacher_hidden)
    return combine(supervised, response, feature, alpha=alpha, knowledge_weight=knowledge_weight)


def _label_cross_entropy(student_scores: Tensor, labels: Tensor, mask: Tensor) -> Tensor:
    check_shape("mission_loss: labels", labels, tuple(student_scores.shape), "labels would be those of other items")
    labels, some = labels.masked_fill(~mask, 0.0), mask.any(1)
    check_distribution("mission_loss: labels", labels[some], "spread each row's mass over its unmasked labels")
    loss = -(labels * masked_log_softmax(student_scores, mask)).sum(1)
    return weighted_mean("mission_loss", loss, some.to(loss.dtype))

"""Losses: pure functions on tensors that return a mean, so that lambda carries over between batch sizes."""

from distilrec.losses.feature import knowledge, preference_consistency
from distilrec.losses.mission import combine, mission_loss
from distilrec.losses.ranking import plackett_luce
from distilrec.losses.response import (
    cross_entropy,
    cross_entropy_with_logits,
    sampled_soft_label_kl,
    soft_label_kl,
    soft_label_kl_with_tail,
    tail_log_sum_exp,
)
from distilrec.losses.supervised import (
    binary_cross_entropy,
    bpr,
    sampled_softmax_cross_entropy,
    softmax_cross_entropy,
    unlikelihood,
)

__all__ = [
    "binary_cross_entropy",
    "bpr",
    "combine",
    "cross_entropy",
    "cross_entropy_with_logits",
    "knowledge",
    "mission_loss",
    "plackett_luce",
    "preference_consistency",
    "sampled_soft_label_kl",
    "sampled_softmax_cross_entropy",
    "soft_label_kl",
    "soft_label_kl_with_tail",
    "softmax_cross_entropy",
    "tail_log_sum_exp",
    "unlikelihood",
]

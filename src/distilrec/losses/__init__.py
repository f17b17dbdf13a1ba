"""Losses: pure functions on tensors that return a mean, so that lambda carries over between batch sizes."""

from distilrec.losses.feature import knowledge, preference_consistency
from distilrec.losses.mission import combine, mission_loss
from distilrec.losses.pointwise import soft_binary_cross_entropy, weighted_log_sigmoid
from distilrec.losses.ranking import listed_first, ordered_plackett_luce, permutation_cross_entropy, plackett_luce
from distilrec.losses.relation import grouped_topology, topology
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
from distilrec.losses.top_k import missed_recall, soft_top_k

__all__ = [
    "binary_cross_entropy",
    "bpr",
    "combine",
    "cross_entropy",
    "cross_entropy_with_logits",
    "grouped_topology",
    "knowledge",
    "listed_first",
    "missed_recall",
    "mission_loss",
    "ordered_plackett_luce",
    "permutation_cross_entropy",
    "plackett_luce",
    "preference_consistency",
    "sampled_soft_label_kl",
    "sampled_softmax_cross_entropy",
    "soft_binary_cross_entropy",
    "soft_label_kl",
    "soft_label_kl_with_tail",
    "soft_top_k",
    "softmax_cross_entropy",
    "tail_log_sum_exp",
    "topology",
    "unlikelihood",
    "weighted_log_sigmoid",
]

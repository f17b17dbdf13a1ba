"""What methods of several teachers do with stores whose every item is known."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import nn

from distilrec.data import Batch, Interactions
from distilrec.distillation.method import Setting, Step
from distilrec.distillation.methods import GatedTeachers, HetComp, RankAggregation
from distilrec.distillation.methods.gated_teachers import _inclusion
from distilrec.distillation.methods.hetcomp import discrepancy
from distilrec.distillation.union import unite
from distilrec.errors import SoftLabelError
from distilrec.losses import plackett_luce, soft_label_kl
from distilrec.rng import generator
from distilrec.scoring import Ragged
from distilrec.soft_labels import SoftBatch

N = 8


class Store:
    """Lists of the best K of N items by scores (Q, N), which it holds of the queries in `known`; samples are empty."""

    left_out = None

    def __init__(self, scores, k=N, *, known=None, temperature=1.0, filter_seen=False, path="store"):
        self.table, self.k, self.temperature, self.path = torch.as_tensor(scores).float(), k, temperature, path
        self.known = range(len(self.table)) if known is None else known
        self.manifest = SimpleNamespace(n_items=N, k=k, kind="topk", width=None, filter_seen=filter_seen,
                                        tail=int(k < N), temperature=1.0, temperatures=(1.0,))  # fmt: skip

    def __len__(self):
        return len(self.known)

    def rows(self, query_ids):
        return np.array([list(self.known).index(q) if q in self.known else -1 for q in query_ids])

    def batch(self, rows):
        recorded = torch.from_numpy(rows >= 0)
        queries = torch.tensor([self.known[row] for row in rows])
        scores, items = self.table[queries].topk(self.k, dim=1)
        mask = recorded.unsqueeze(1).expand(-1, self.k).clone()
        empty = torch.empty(len(rows), 0)
        return SoftBatch(
            recorded, items.where(mask, 0), scores.where(mask, 0.0), mask, empty, (), empty.long(), empty,
            empty.bool(), torch.ones(len(rows)), None,
        )  # fmt: skip


class Student(nn.Module):
    """Its hidden states are its scores of the N items."""

    width, n_items, reads_histories = N, N, True

    def item_vectors(self):
        return torch.eye(N)

    def item_bias(self):
        return None

    def tensor(self, array):
        return torch.from_numpy(array)


LOG = Interactions(Ragged.from_rows([[0, 1, 2, 3]]), n_items=N)


def step_of(hidden, members, *, epoch=1, targets=((), ()), queries=None):
    queries = np.arange(len(hidden)) if queries is None else np.array(queries)
    rows, items = (np.array(part, np.int64) for part in targets)
    none = np.empty(0, np.int64)
    batch = Batch(
        none, None, none, queries, rows, items, np.ones(len(rows), np.float32), none, none, none.astype(np.float32)
    )
    labels = next(iter(members.values()))[-1]
    found = labels.rows(queries)
    soft, ones = labels.batch(found), torch.ones(len(found))
    return Step(Student(), labels, batch, hidden, found, soft, ones, epoch, generator(0), members)


def term_of(method, members):
    setting = Setting(Student(), LOG, next(iter(members.values()))[-1], 0, members)
    method.check(setting)
    return method.term(setting)


@pytest.fixture
def hidden():
    return torch.randn(4, N, generator=torch.Generator().manual_seed(0)).requires_grad_()


@pytest.fixture
def tables():
    rng = torch.Generator().manual_seed(1)
    return [torch.randn(4, N, generator=rng) for _ in range(3)]


class TestRankAggregation:
    def test_one_member_is_its_own_list(self, hidden, tables):
        """Prevents a union, or points, that change the order."""
        term = term_of(RankAggregation(pool=N, interesting=5), {"a": (Store(tables[0]),)})
        expected = plackett_luce(hidden, tables[0], torch.ones(4, N, dtype=torch.bool), listed=5)
        torch.testing.assert_close(term(step_of(hidden, {"a": (Store(tables[0]),)})), expected)

    def test_equal_members_are_one(self, hidden, tables):
        members = {name: (Store(tables[0], k=5),) for name in "abc"}
        method = RankAggregation(pool=5, interesting=3)
        one = dict(list(members.items())[:1])
        torch.testing.assert_close(
            term_of(method, members)(step_of(hidden, members)), term_of(method, one)(step_of(hidden, one))
        )

    def test_weights_choose_and_scales_do_not(self, hidden, tables):
        """Prevents the member with the largest scores from having the last word."""
        members = {"a": (Store(tables[0]),), "b": (Store(tables[1] * 1000),)}
        only_a = term_of(RankAggregation(pool=N, interesting=4, weights={"b": 0}), members)(step_of(hidden, members))
        mostly = term_of(RankAggregation(pool=N, interesting=4, weights={"b": 0.01}), members)
        one = {"a": members["a"]}
        alone = term_of(RankAggregation(pool=N, interesting=4), one)(step_of(hidden, one))
        torch.testing.assert_close(only_a, alone)
        torch.testing.assert_close(mostly(step_of(hidden, members)), alone)

    def test_only_the_last_recording_counts(self, hidden, tables):
        """Prevents a method without a curriculum from learning an early checkpoint."""
        members = {"a": (Store(tables[1]), Store(tables[0]))}
        last = {"a": (Store(tables[0]),)}
        method = RankAggregation(pool=N, interesting=4)
        torch.testing.assert_close(
            term_of(method, members)(step_of(hidden, members)), term_of(method, last)(step_of(hidden, last))
        )

    def test_wrong_settings_are_refused(self, tables):
        with pytest.raises(ValueError, match="can't be more than pool"):
            RankAggregation(pool=3, interesting=4)
        with pytest.raises(SoftLabelError, match="weights of members"):
            term_of(RankAggregation(pool=4, interesting=4, weights={"x": 1}), {"a": (Store(tables[0]),)})
        with pytest.raises(SoftLabelError, match="one of them above 0"):
            term_of(RankAggregation(pool=4, interesting=4, weights={"a": 0}), {"a": (Store(tables[0]),)})

    def test_a_member_with_a_shorter_list_is_refused(self, tables):
        """Prevents a list that is padded with what nobody voted for."""
        members = {"a": (Store(tables[0]),), "b": (Store(tables[1], k=3, path="short"),)}
        with pytest.raises(SoftLabelError, match="lists of 4 items, not 3"):
            term_of(RankAggregation(pool=4, interesting=4), members)


class TestGatedTeachers:
    def test_at_first_it_is_the_mean_of_the_logits(self, hidden, tables):
        """Temperatures put members of any scale together; constants have no say."""
        members = {"a": (Store(tables[0]),), "b": (Store(5 * tables[1] + 9, temperature=5.0),)}
        term = term_of(GatedTeachers(temperature=2.0), members)
        everything = torch.ones(4, N, dtype=torch.bool)
        expected = soft_label_kl(hidden, (tables[0] + tables[1]) / 2, everything, temperature=2.0)
        torch.testing.assert_close(term(step_of(hidden, members)), expected)

    def test_items_that_a_member_did_not_list_count_as_its_lowest(self, hidden):
        """Prevents an unlisted item from counting as one of score 0, which may be above all listed ones."""
        table = torch.tensor([[-1.0, -2.0, -3.0, -9.0, -9.0, -9.0, -9.0, -9.0]])
        other = torch.tensor([[-9.0, -9.0, -9.0, 0.0, -1.0, -9.0, -9.0, -9.0]])
        members = {"a": (Store(table, k=3),), "b": (Store(other, k=2),)}
        mixed = torch.tensor([[2.0, 1.0, 0.0, 1.0, 0.0]]) / 2
        expected = soft_label_kl(hidden[:1, :5], mixed, torch.ones(1, 5, dtype=torch.bool))
        torch.testing.assert_close(term_of(GatedTeachers(), members)(step_of(hidden[:1], members)), expected)

    def test_who_was_not_asked_has_no_say(self, hidden, tables):
        members = {"a": (Store(tables[0]),), "b": (Store(tables[1], known=(0, 1)),)}
        term = term_of(GatedTeachers(), members)
        one = {"a": members["a"]}
        asked = step_of(hidden[2:], members, queries=[2, 3])
        torch.testing.assert_close(term(asked), term_of(GatedTeachers(), one)(step_of(hidden[2:], one, queries=[2, 3])))
        nobody = {"a": (Store(tables[0], known=(0,)),)}
        assert term_of(GatedTeachers(), nobody)(step_of(hidden[2:], nobody, queries=[2, 3])).item() == 0

    def test_the_gate_learns_from_true_labels_only_and_the_student_not_from_the_gate(self, hidden, tables):
        """Prevents a gate that takes the member which is easiest to copy."""
        members = {"a": (Store(tables[0]),), "b": (Store(tables[1]),)}
        term = term_of(GatedTeachers(), members)
        term(step_of(hidden, members)).backward()
        assert not any(p.grad.any() for p in term.parameters())
        first, hidden.grad = hidden.grad, None
        targets = (0, 2), (int(tables[0][0].argmax()), int(tables[0][2].argmax()))
        term(step_of(hidden, members, targets=targets)).backward()
        torch.testing.assert_close(hidden.grad, first)
        assert term.gate.bias.grad[0] < 0 < term.gate.bias.grad[1]  # the step raises a, which knows the targets

    def test_it_finds_out_who_is_right_for_which_query_and_drops_nobody(self, hidden, tables):
        """Prevents a gate of one weight for all, and one that ends with a single member."""
        best = [table.argmax(1) for table in tables[:2]]
        members = {"a": (Store(tables[0]),), "b": (Store(tables[1]),)}
        term = term_of(GatedTeachers(floor=0.2), members)
        targets = np.arange(4), torch.stack([best[0][0], best[1][1], best[0][2], best[1][3]]).numpy()
        optimizer = torch.optim.Adam(term.parameters(), lr=0.1)
        for _ in range(200):
            optimizer.zero_grad()
            term(step_of(hidden, members, targets=targets)).backward()
            optimizer.step()
        alpha = term.alpha(hidden, torch.ones(4, 2, dtype=torch.bool))
        assert alpha.argmax(1).tolist() == [0, 1, 0, 1]
        assert 0.1 - 1e-6 <= alpha.min() < 0.2
        torch.testing.assert_close(alpha.sum(1), torch.ones(4))

    def test_targets_outside_of_the_lists_teach_nothing(self, hidden, tables):
        members = {"a": (Store(tables[0], k=3),), "b": (Store(tables[0], k=3),)}
        term = term_of(GatedTeachers(), members)
        outside = (0,), (int(tables[0][0].argmin()),)
        torch.testing.assert_close(term(step_of(hidden, members, targets=outside)), term(step_of(hidden, members)))

    def test_a_gate_without_true_labels_is_refused(self, tables, monkeypatch):
        """Prevents equal weights that look like learned ones."""
        monkeypatch.setattr(Student, "reads_histories", False)
        with pytest.raises(SoftLabelError, match="filter_seen: false"):
            term_of(GatedTeachers(), {"a": (Store(tables[0], filter_seen=True),)})

    def test_one_recording_under_several_names_is_one_sample(self):
        """Prevents controls, in which one store stands for all members, from counting its sample several times."""
        none = torch.empty(1, 0)
        batch = SoftBatch(
            torch.tensor([True]), torch.tensor([[0]]), torch.tensor([[1.0]]), torch.tensor([[True]]), none, (),
            torch.tensor([[3, 5]]), torch.zeros(1, 2), torch.ones(1, 2, dtype=torch.bool), torch.tensor([0.25]), None,
        )  # fmt: skip
        lists = batch.candidates()[0], batch.candidates()[2]
        for paths, expected in (("aa", 0.25), ("ab", 1 - 0.75**2)):
            found = _inclusion(unite([lists, lists]), [batch, batch], [Path(path) for path in paths])
            assert found.tolist() == [[1.0, expected, expected]]


class TestHetComp:
    METHOD = HetComp(pool=4, compared=3, every=1, catch_up=1.2)

    def test_queries_at_either_stage_count_as_they_weigh(self, hidden, tables):
        """Prevents a mean over stages in which those that are done count by number, and within them by weight."""
        term = term_of(self.METHOD, {"a": (Store(tables[0]), Store(tables[1]))})
        votes, mask, done = tables[0], torch.ones(4, N, dtype=torch.bool), torch.tensor([True, False, False, True])
        weights, parts = torch.tensor([3.0, 1.0, 4.0, 0.0]), (hidden, votes, mask, done)
        alone = torch.stack([term._loss(*(p[n : n + 1] for p in parts), torch.ones(1)) for n in range(4)])
        expected = (weights * alone).sum() / 8
        torch.testing.assert_close(term._loss(hidden, votes, mask, done, weights), expected)

    def test_discrepancy_by_hand(self):
        """Ranks gain 2^exp(-r / 10) - 1, discounted by log2(r + 2)."""
        gains = [(2 ** np.exp(-r / 10) - 1) / np.log2(r + 2) for r in range(3)]
        best = torch.tensor([[5, 2, 7], [1, 2, 3]])
        items, mask = torch.tensor([[7, 1, 5], [1, 2, 3]]), torch.tensor([[True, True, True], [True, True, False]])
        expected = [1 - (gains[0] + gains[2]) / sum(gains), 1 - (gains[0] + gains[1]) / sum(gains)]
        assert discrepancy(best, items, mask).tolist() == pytest.approx(expected)

    def test_a_query_goes_on_when_the_student_has_caught_up_and_not_before(self, tables):
        members = {"a": tuple(map(Store, tables)), "b": (Store(tables[0]),)}
        term = term_of(self.METHOD, members)
        far = -tables[1]
        term(step_of(far, members, epoch=1))  # measured for the first time
        assert term.position.tolist() == [[0, 0]] * 4
        first = term.distance.clone()
        term(step_of(far, members, epoch=2))  # no nearer
        assert term.position.tolist() == [[0, 0]] * 4
        assert torch.equal(term.distance, first)
        term(step_of(tables[1], members, epoch=3))  # it is there
        assert term.position.tolist() == [[1, 0]] * 4
        assert not torch.equal(term.distance[:, 0], first[:, 0])  # now that from the third
        term(step_of(tables[2], members, epoch=4))
        assert term.position.tolist() == [[2, 0]] * 4
        term(step_of(far, members, epoch=5))  # and no further
        assert term.position.tolist() == [[2, 0]] * 4

    def test_a_query_goes_on_when_the_student_departs(self, tables):
        members = {"a": (Store(tables[0]), Store(tables[1]))}
        term = term_of(self.METHOD, members)
        term(step_of(tables[1] + 0.5 * tables[0], members, epoch=1))
        near = term.distance.clone()
        term(step_of(-tables[1], members, epoch=2))
        assert (term.position[near < 1] == 1).all()

    def test_a_query_is_measured_once_an_epoch(self, tables):
        """Prevents batches of interactions, in which a user comes up many times, from ending the curriculum at once."""
        members = {"a": tuple(map(Store, tables))}
        term = term_of(self.METHOD, members)
        for _ in range(3):
            term(step_of(tables[2], members, epoch=1))
        assert not term.position.any()
        for _ in range(3):
            term(step_of(tables[1], members, epoch=2))
        assert (term.position <= 1).all()

    def test_only_epochs_in_question_are_measured(self, tables):
        members = {"a": (Store(tables[0]), Store(tables[1]))}
        term = term_of(self.METHOD.model_copy(update={"every": 3}), members)
        for epoch in (1, 2):
            term(step_of(tables[1], members, epoch=epoch))
        assert (term.distance == -1).all()
        term(step_of(tables[1], members, epoch=3))
        assert (term.distance >= 0).all()

    def test_each_query_learns_its_own_checkpoint_first_as_a_set_then_in_order(self, hidden, tables):
        """Prevents a curriculum that counts checkpoints and teaches the last one all the same."""
        members = {"a": (Store(tables[0]), Store(tables[1]))}
        term = term_of(HetComp(pool=4, compared=3, every=100), members)
        term.position[1] = 1
        everything = torch.ones(1, N, dtype=torch.bool)
        # Lists of four among the N that the two of the batch name; one teacher's list is all that a query has.
        (early,) = torch.autograd.grad(term(step_of(hidden, members, queries=range(4))), hidden)
        assert not early[[0, 2, 3]].any()  # four listed items and nothing beside them
        best = tables[1][1].topk(4).indices
        scores = hidden[1:2, best].detach().requires_grad_()
        order = torch.arange(4.0, 0, -1).unsqueeze(0)
        loss = (plackett_luce(scores, order, everything[:, :4], listed=2)
                + plackett_luce(scores, order, everything[:, :4], listed=1)) / 2  # fmt: skip
        torch.testing.assert_close(early[1, best], torch.autograd.grad(loss, scores)[0][0] / 4)

    def test_seen_items_do_not_count_among_the_best(self, tables):
        """Prevents a student that is measured by items which the teacher was not to list."""
        seen = [0, 1, 2, 3]  # all of the log's only user, at query number 4
        table = torch.zeros(1, N)
        table[0, [4, 5, 6]] = torch.tensor([3.0, 2.0, 1.0])
        members = {"a": tuple(Store(table, k=4, known=(4,), filter_seen=True) for _ in range(2))}
        for store in members["a"]:
            store.table = table.expand(5, N)
        term = term_of(self.METHOD, members)
        hidden = table.clone()
        hidden[0, seen] = 9.0
        term(step_of(hidden, members, epoch=1, queries=[4]))
        assert term.distance.tolist() == [[pytest.approx(0, abs=1e-6)]]

    def test_lists_are_longer_where_the_student_is_compared_by_more(self, hidden, tables):
        """Prevents points of the pool from being given to items beyond it."""
        members = {"a": (Store(tables[0]), Store(tables[1]))}
        losses = [term_of(HetComp(pool=3, compared=k, every=100), members)(step_of(hidden, members)) for k in (3, 6)]
        torch.testing.assert_close(*losses)

    def test_items_far_down_the_list_still_come_before_others(self, hidden, tables):
        """Prevents points that are zero, in float32, for what was listed."""
        members = {"a": (Store(tables[0], k=6), Store(tables[0], k=6))}
        steep, flat = (HetComp(pool=6, compared=3, every=100, sharpness=s) for s in (0.01, 10.0))
        for position in (0, 1):
            losses = []
            for method in (steep, flat):
                term = term_of(method, members)
                term.position[:] = position
                losses.append(term(step_of(hidden, members)))
            torch.testing.assert_close(*losses)

    def test_members_without_earlier_states_are_refused(self, tables):
        with pytest.raises(SoftLabelError, match="checkpoints: 3"):
            term_of(self.METHOD, {"a": (Store(tables[0]),)})

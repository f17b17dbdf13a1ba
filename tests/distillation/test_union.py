import torch
from hypothesis import given
from hypothesis import strategies as st

from distilrec.distillation.union import unite, vote

kept = st.tuples(st.lists(st.integers(0, 6), min_size=3, max_size=3, unique=True), st.integers(0, 3))
rows = st.lists(kept, min_size=2, max_size=2)


@given(st.lists(rows, min_size=1, max_size=3))
def test_each_item_stands_once_and_every_candidate_finds_its_own(lists):
    """Prevents scores that are added at the place of another item, or of another query."""
    items = [torch.tensor([items for items, _ in each]) for each in lists]
    masks = [torch.tensor([[n < kept for n in range(3)] for _, kept in each]) for each in lists]
    union = unite(list(zip(items, masks, strict=True)))
    for row in range(2):
        expected = sorted({item for each in lists for item in each[row][0][: each[row][1]]})
        assert union.items[row][union.mask[row]].tolist() == expected
        assert union.mask[row].sum() == len(expected)
    for number, (one, mask) in enumerate(zip(items, masks, strict=True)):
        spread = union.spread(number, one.float() + 1, fill=-1.0)
        given_back = spread.gather(1, union.places[number])
        assert torch.equal(given_back[mask], one[mask].float() + 1)
        assert (spread >= 0).sum() == mask.sum()
    asked = torch.arange(8).repeat(2)
    which = torch.arange(2).repeat_interleave(8)
    places, there = union.find(which, asked)
    assert torch.equal(union.items[which, places][there], asked[there])
    known = [[item in union.items[row][union.mask[row]].tolist() for item in range(8)] for row in range(2)]
    assert there.view(2, 8).tolist() == known


def test_votes_by_hand():
    """The second teacher counts half: items 1, 4 and 7 have 1.5, 3 + .5 and 2 + 1; item 9 is of the sample."""
    everything = torch.ones(1, 3, dtype=torch.bool)
    lists = [(torch.tensor([[4, 7, 0]]), torch.tensor([[True, True, False]])), (torch.tensor([[1, 7, 4]]), everything)]
    sample = torch.tensor([[9, 4]]), everything[:, :2]
    union, votes = vote(lists, sample, [1.0, 0.5], torch.tensor([3.0, 2.0, 1.0]))
    assert union.items.tolist() == [[1, 4, 7, 9, 0]]
    assert union.mask.tolist() == [[True, True, True, True, False]]
    torch.testing.assert_close(votes, torch.tensor([[1.5, 3.5, 3.0, 0.0, 0.0]]), rtol=1e-4, atol=0)


def test_at_equal_points_the_earlier_teacher_counts_more():
    """Prevents ties, which are frequent, from being broken by the numbering of items."""
    mask = torch.ones(1, 2, dtype=torch.bool)
    none = torch.empty(1, 0, dtype=torch.int64), torch.empty(1, 0, dtype=torch.bool)
    for lists in ([[8, 3], [3, 8]], [[3, 8], [8, 3]]):
        _, votes = vote([(torch.tensor([each]), mask) for each in lists], none, [1.0, 1.0], torch.tensor([2.0, 1.0]))
        assert votes.argmax().item() == [3, 8].index(lists[0][0])

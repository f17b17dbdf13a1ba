import pytest
import torch

from distilrec.errors import SoftLabelError
from distilrec.losses import combine, cross_entropy_with_logits, knowledge, mission_loss

MASK = torch.tensor([[True, True, True], [True, True, False]])
LABELS = torch.tensor([[0.0, 1.0, 0.0], [0.5, 0.5, 0.0]], dtype=torch.float64)


def inputs() -> tuple[torch.Tensor, ...]:
    generator = torch.Generator().manual_seed(0)
    student, teacher = torch.randn(2, 2, 3, generator=generator, dtype=torch.float64)
    hidden = torch.randn(2, 2, 4, generator=generator, dtype=torch.float64)
    return student.requires_grad_(), teacher, hidden[0].requires_grad_(), hidden[1]


def test_all_three_terms_by_hand():
    """The supervised term is at temperature 1 even when the soft labels aren't."""
    student, teacher, phi_s, phi_t = inputs()
    loss = mission_loss(student, teacher, MASK, LABELS, phi_s, phi_t, alpha=0.3, temperature=2.0, knowledge_weight=0.1)
    log_p = student.masked_fill(~MASK, -torch.inf).log_softmax(1)
    true = -(log_p[0, 1] + 0.5 * (log_p[1, 0] + log_p[1, 1])) / 2
    soft = cross_entropy_with_logits(student, teacher, MASK, temperature=2.0)
    torch.testing.assert_close(loss, 0.7 * true + 0.3 * soft + 0.1 * knowledge(phi_s, phi_t))


def test_alpha_one_is_the_response_alone_and_alpha_zero_the_labels_alone():
    student, teacher, *_ = inputs()
    other = teacher.flip(1)
    response = mission_loss(student, teacher, MASK, LABELS, alpha=1.0)
    torch.testing.assert_close(response, cross_entropy_with_logits(student, teacher, MASK))
    zero = [mission_loss(student, t, MASK, LABELS, alpha=0.0) for t in (teacher, other)]
    torch.testing.assert_close(*zero)


def test_joint_training_mirrors_the_loss_with_the_gradient_stopped():
    """Each side learns from the other's output; neither call may push on its target."""
    a, b, *_ = inputs()
    b = b.requires_grad_()
    mission_loss(a, b, MASK, LABELS).backward()
    assert a.grad is not None
    assert b.grad is None
    a.grad = None
    mission_loss(b, a, MASK, LABELS).backward()
    assert a.grad is None
    assert b.grad is not None


def test_gradcheck():
    student, teacher, phi_s, phi_t = inputs()
    assert torch.autograd.gradcheck(
        lambda s, h: mission_loss(s, teacher, MASK, LABELS, h, phi_t, temperature=3.0, knowledge_weight=0.5),
        (student, phi_s),
    )


@pytest.mark.parametrize("alpha", [-0.1, 1.1, float("nan")])
def test_alpha_outside_its_range_is_refused(alpha):
    with pytest.raises(ValueError, match="alpha"):
        combine(torch.tensor(1.0), torch.tensor(1.0), alpha=alpha)


def test_hidden_states_and_lambda_go_together():
    """A lambda without hidden states, or the reverse, would silently train something else."""
    student, teacher, phi_s, phi_t = inputs()
    with pytest.raises(ValueError, match="missing"):
        mission_loss(student, teacher, MASK, LABELS, knowledge_weight=0.1)
    with pytest.raises(ValueError, match="given"):
        mission_loss(student, teacher, MASK, LABELS, phi_s, phi_t)
    with pytest.raises(ValueError, match="both"):
        mission_loss(student, teacher, MASK, LABELS, phi_s, None, knowledge_weight=0.1)


def test_unreduced_losses_are_refused():
    with pytest.raises(ValueError, match="reduce"):
        combine(torch.ones(2), torch.tensor(1.0), alpha=0.5)


def test_labels_must_be_distributions_over_the_candidates():
    """A label on a masked item would be lost without a word."""
    student, teacher, *_ = inputs()
    with pytest.raises(SoftLabelError, match="labels"):
        mission_loss(student, teacher, MASK, LABELS.flip(1))

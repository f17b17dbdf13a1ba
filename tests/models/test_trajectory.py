import numpy as np
import pytest
import torch

from distilrec import training as training_module
from distilrec.data import LeaveLastOut, clusters, split
from distilrec.models import MatrixFactorizationConfig, Supervision, build, fit
from distilrec.models.trajectory import Trajectory
from distilrec.training import TrainingConfig

TRAINING = TrainingConfig(epochs=9, evaluate_every=9, batch_size=16, learning_rate=0.05)


def trained(folder, data, *, training=TRAINING, n=2, **options):
    model = build(MatrixFactorizationConfig(embedding_size=4), data.train.n_users, data.train.n_items, seed=0)
    trajectory = Trajectory(folder, n)
    fit(model, data, Supervision(), training, seed=0, on_weights=trajectory.keep, **options)
    return model, trajectory


@pytest.fixture
def data():
    return split(clusters(n_users=16, n_items=40, n_clusters=4, length=5).interactions, LeaveLastOut())


def test_no_more_than_twice_as_many_are_kept_and_they_are_evenly_spaced(tmp_path):
    """Prevents a disk that fills with the states of a long training."""
    trajectory = Trajectory(tmp_path, 3)
    for epoch in range(1, 101):
        trajectory.keep(epoch, {"w": torch.full((1,), float(epoch))})
        kept = trajectory.epochs()
        assert len(kept) <= 6
        assert len(set(np.diff([0, *kept]))) == 1
    assert trajectory.epochs() == [16, 32, 48, 64, 80, 96]
    assert trajectory.choose(100) == [32, 48, 80]
    assert [trajectory.weights(epoch)["w"].item() for epoch in trajectory.epochs()] == trajectory.epochs()


def test_where_few_were_kept_they_stand_for_others(tmp_path):
    """Prevents a member that was best after its first epoch from leaving a stage without its file."""
    trajectory = Trajectory(tmp_path, 3)
    assert trajectory.choose(1) == [1, 1, 1]
    for epoch in (1, 2):
        trajectory.keep(epoch, {"w": torch.zeros(1)})
    assert trajectory.choose(1) == [1, 1, 1]
    assert trajectory.choose(2) == [1, 1, 1]
    trajectory.remove()
    assert not tmp_path.exists()


def test_an_interrupted_training_keeps_the_same_states(data, tmp_path, monkeypatch):
    """Prevents a state of a later epoch under the number of an earlier one, when epochs are reported again."""
    monkeypatch.setattr(training_module, "CHECKPOINT_SECONDS", -1.0)
    _, whole = trained(tmp_path / "whole", data)

    def stop(epoch):
        if epoch.number == 6:
            raise KeyboardInterrupt

    checkpoint = tmp_path / "checkpoint.safetensors"
    with pytest.raises(KeyboardInterrupt):
        trained(tmp_path / "parts", data, checkpoint=checkpoint, on_epoch=stop)
    _, parts = trained(tmp_path / "parts", data, checkpoint=checkpoint)
    assert whole.epochs() == parts.epochs() == [2, 4, 6, 8]
    for path in whole.folder.iterdir():
        assert path.read_bytes() == (parts.folder / path.name).read_bytes()


def test_the_average_is_kept_where_there_is_one(data, tmp_path):
    """Prevents a trajectory of raw weights that ends in averaged ones."""
    training = TRAINING.model_copy(update={"average": 0.9, "epochs": 2})
    model, trajectory = trained(tmp_path, data, training=training)
    last = trajectory.weights(2)
    assert all(torch.equal(value, last[name]) for name, value in model.state_dict().items())

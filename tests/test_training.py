import contextlib
import json
import os
import runpy
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn

import distilrec
from distilrec import training
from distilrec.errors import ArtefactError, ModelError
from distilrec.training import TrainingConfig, train

SCRIPT = Path(__file__).with_name("trainer.py")


class Slope(nn.Module):
    """One number with a gradient of 1: each step of AdamW lowers it by the learning rate."""

    def __init__(self) -> None:
        super().__init__()
        self.x = nn.Parameter(torch.zeros(1, dtype=torch.float64))


class Noisy(nn.Module):
    """A few weights under dropout."""

    def __init__(self) -> None:
        super().__init__()
        self.x = nn.Parameter(torch.ones(8))
        self.dropout = nn.Dropout(0.5)


def descend(module, config, *, validate=None, batches=lambda rng: [1.0], loss=None, **options):
    return train(
        module,
        batches=batches,
        loss=loss or (lambda batch, rng: {"loss": module.x.sum() * batch}),
        validate=validate or (lambda: -float(module.x.detach().sum())),
        config=config,
        seed=options.pop("seed", 0),
        **options,
    )


def test_early_stopping_keeps_the_best_weights():
    """Prevents shipping the last weights, which are patience epochs past the best."""
    module, quality, weights = Slope(), iter([0.1, 0.5, 0.5, 0.4, 0.9]), []
    epochs = descend(
        module,
        TrainingConfig(epochs=50, patience=2, learning_rate=0.1),
        validate=lambda: next(quality),
        on_epoch=lambda epoch: weights.append(module.x.item()),
    )
    assert [epoch.validation for epoch in epochs] == [0.1, 0.5, 0.5, 0.4]
    assert module.x.item() == weights[1]
    assert not module.training


def test_patience_counts_validations_and_the_last_epoch_is_always_validated():
    """Prevents a run that ends between two validations from keeping untrained weights."""
    module = Slope()
    epochs = descend(module, TrainingConfig(epochs=5, evaluate_every=3, learning_rate=0.1))
    assert [epoch.validation is not None for epoch in epochs] == [False, False, True, False, True]
    assert module.x.item() == pytest.approx(-0.5)


def test_validation_sees_no_dropout_and_training_does():
    module, modes = Noisy(), []

    def loss(batch, rng):
        modes.append(module.training)
        return {"loss": module.dropout(module.x).sum()}

    descend(module, TrainingConfig(epochs=2), loss=loss, validate=lambda: modes.append(module.training) or 0.0)
    assert modes == [True, False, True, False]


def test_warm_up_raises_the_learning_rate_step_by_step():
    """Prevents a warm-up that starts at 0 and wastes a step, or that starts anew in each epoch."""
    module, path = Slope(), []
    descend(
        module,
        TrainingConfig(epochs=3, learning_rate=0.1, warmup_steps=4),
        batches=lambda rng: [1.0, 1.0],
        on_epoch=lambda epoch: path.append(module.x.item()),
    )
    steps = 0.1 * np.array([0.25, 0.5, 0.75, 1.0, 1.0, 1.0])
    assert path == pytest.approx((-np.cumsum(steps)[1::2]).tolist())


def test_decay_lowers_the_learning_rate_from_epoch_to_epoch():
    """Steps of .4, .3, .2 and .1: a rate that reached 0 would waste the last epoch."""
    module, seen = Slope(), []
    config = TrainingConfig(epochs=4, learning_rate=0.4, decay=True)
    descend(module, config, on_epoch=lambda epoch: seen.append(module.x.item()))
    assert seen == pytest.approx([-0.4, -0.7, -0.9, -1.0])


def test_the_average_is_validated_and_kept_while_the_raw_weights_train_on():
    """Prevents an average that is measured but not shipped, or that feeds back into training."""
    module, validated, raw = Slope(), [], []

    def validate():
        validated.append(module.x.item())
        return float(len(validated))

    descend(
        module,
        TrainingConfig(epochs=3, learning_rate=0.1, average=0.75),
        validate=validate,
        on_epoch=lambda epoch: raw.append(module.x.item()),
    )
    average = [-0.025, -0.025 * 0.75 - 0.05]
    average.append(average[1] * 0.75 - 0.075)
    assert raw == pytest.approx([-0.1, -0.2, -0.3])
    assert validated == pytest.approx(average)
    assert module.x.item() == pytest.approx(average[2])


def test_losses_are_means_over_batches_by_name():
    module = Slope()
    (epoch,) = descend(
        module,
        TrainingConfig(epochs=1),
        batches=lambda rng: [1.0, 3.0],
        loss=lambda batch, rng: {"loss": 0 * module.x.sum() + batch, "part": torch.tensor(2 * batch)},
    )
    assert epoch.losses == {"loss": 2.0, "part": 4.0}


def test_nothing_to_learn_from_is_an_error():
    """Prevents first weights from passing for a trained model."""
    with pytest.raises(ModelError, match="Slope: there is nothing to learn from"):
        descend(Slope(), TrainingConfig(epochs=2), batches=lambda rng: [])


def test_a_loss_that_is_not_finite_is_an_error():
    """Prevents hours of NaN, or a model that is quietly the untrained one."""
    module = Slope()
    with pytest.raises(ModelError, match=r"Slope.*epoch 2.*lower learning_rate \(now 0\.1\)"):
        descend(
            module,
            TrainingConfig(epochs=5, learning_rate=0.1),
            loss=lambda batch, rng: {"loss": module.x.log().sum() if module.x < 0 else module.x.sum()},
        )


def test_randomness_follows_from_the_seed_and_leaves_the_global_generators_alone():
    """Prevents dropout that depends on what ran before."""

    def run(seed):
        torch.rand(seed)  # whatever ran before
        module, drawn, kept = Noisy(), [], []

        def loss(batch, rng):
            drawn.append(rng.random())
            out = module.dropout(module.x)
            kept.append(tuple((out != 0).tolist()))
            return {"loss": out.square().sum()}

        before = torch.get_rng_state()
        descend(module, TrainingConfig(epochs=3), loss=loss, seed=seed)
        assert torch.equal(torch.get_rng_state(), before)
        assert len(set(drawn)) == len(set(kept)) == 3
        return module.x.detach().numpy().tobytes(), drawn

    assert run(1) == run(1)
    assert run(1) != run(2)


def kill_in_epoch(number, folder):
    """Train in another process, and kill -9 it before the epoch of this number is saved."""
    environment = {
        **os.environ,
        "PYTHONPATH": str(Path(distilrec.__file__).parents[1]),
        "OMP_NUM_THREADS": str(torch.get_num_threads()),  # other threads round otherwise
    }
    command, pipe = [sys.executable, str(SCRIPT), str(folder)], subprocess.PIPE
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, env=environment, text=True) as process:
        for line in process.stdout:
            if int(line) == number:
                process.kill()
                break
            process.stdin.write("\n")
            process.stdin.flush()
    assert process.returncode == -signal.SIGKILL


def test_killed_and_resumed_gives_the_bytes_of_an_uninterrupted_training(tmp_path, monkeypatch):
    """Moments of AdamW, the warm-up, the average, dropout and the best weights so far: each is easily lost."""
    monkeypatch.setattr(training, "CHECKPOINT_SECONDS", 0.0)
    script = runpy.run_path(str(SCRIPT))
    kill_in_epoch(7, tmp_path / "killed")
    found = load_file(tmp_path / "killed")
    assert {name.split("/")[0] for name in found} == {"now", "best", "average", "optimizer", "notes"}
    assert len(json.loads(found["notes"].numpy().tobytes())["epochs"]) == 6
    trained, epochs = {}, {}
    for name in ("killed", "whole"):
        epochs[name] = []
        trained[name] = script["work"](tmp_path / name, epochs[name].append)
        assert [epoch.number for epoch in epochs[name]] == list(range(1, script["EPOCHS"] + 1))
    assert trained["killed"] == trained["whole"]
    curves = [[(e.losses, e.validation) for e in epochs[name]] for name in ("killed", "whole")]
    assert curves[0] == curves[1]


@pytest.fixture
def checkpoint(tmp_path, monkeypatch):
    """That of a training of two epochs."""
    monkeypatch.setattr(training, "CHECKPOINT_SECONDS", -1.0)
    path = tmp_path / "checkpoint.safetensors"
    descend(Slope(), TrainingConfig(epochs=2, learning_rate=0.1), checkpoint=path)
    return path


def test_a_longer_training_goes_on_where_a_finished_one_stopped(checkpoint):
    module = Slope()
    epochs = descend(module, TrainingConfig(epochs=3, learning_rate=0.1), checkpoint=checkpoint)
    assert [epoch.number for epoch in epochs] == [1, 2, 3]
    assert module.x.item() == pytest.approx(-0.3)


def test_the_best_weights_survive_an_interruption(tmp_path, monkeypatch):
    """Prevents a resumed training whose best epoch is over from keeping those of the moment it was killed."""
    monkeypatch.setattr(training, "CHECKPOINT_SECONDS", -1.0)
    settings, path = TrainingConfig(epochs=4, learning_rate=0.1), tmp_path / "checkpoint"

    def interrupted(epoch):
        if epoch.number == 3:
            raise KeyboardInterrupt

    for quality, on_epoch in ((iter([0.9, 0.2, 0.1]), interrupted), (iter([0.3, 0.4]), None)):
        module = Slope()
        with contextlib.suppress(KeyboardInterrupt):
            descend(
                module,
                settings,
                validate=lambda values=quality: next(values),
                checkpoint=path,
                on_epoch=on_epoch,
            )
    assert module.x.item() == pytest.approx(-0.1)


def test_a_damaged_checkpoint_is_named(checkpoint):
    """Prevents training anew without a word, and a trace that doesn't say which file."""
    whole = checkpoint.read_bytes()
    for damaged in (whole[: len(whole) // 2], b"", b"{}" * 50):
        checkpoint.write_bytes(damaged)
        with pytest.raises(ArtefactError, match=f"The checkpoint {checkpoint} can't be read.*delete it"):
            descend(Slope(), TrainingConfig(), checkpoint=checkpoint)


@pytest.mark.parametrize("change", ["other notes", "no notes", "other model"])
def test_a_checkpoint_of_something_else_is_named(checkpoint, change):
    tensors = load_file(checkpoint)
    if change == "no notes":
        del tensors["notes"]
    elif change == "other notes":
        tensors["notes"] = torch.tensor(list(b'{"epochs": [{}], "best_validation": 0}'), dtype=torch.uint8)
    else:
        tensors["now/y"] = tensors.pop("now/x")
    save_file(tensors, checkpoint)
    with pytest.raises(ArtefactError, match="can't be read"):
        descend(Slope(), TrainingConfig(), checkpoint=checkpoint)

"""Controls that are made of the teacher as it is."""

import numpy as np
import pytest

from distilrec.data import DataConfig, LeaveLastOut, clusters, split
from distilrec.data.split_kinds import ColdItems
from distilrec.models import IALSConfig, MatrixFactorizationConfig, build, load_model, save_model
from distilrec.pipeline.controls import Factorise, Truncate
from distilrec.pipeline.stages import Stage, Store
from distilrec.pipeline.task import Context
from distilrec.recipe import Student


class Prepared:
    """Data that are split, as tasks read them."""

    def __init__(self, split):
        self.split = split


@pytest.fixture
def made(tmp_path):
    """A context, and stages that left models."""

    def make(data, **models):
        context = Context(Store(tmp_path), DataConfig(source="log.csv"))
        context.__dict__["prepared"] = Prepared(data)
        stages = {name: Stage(name, {}, ()) for name in (*models, "like", "made")}
        for name, model in models.items():
            save_model(model, context.store.folder(stages[name]))
        return context, stages

    return make


def test_the_best_member_is_cut_though_it_was_not_trained_by_steps(made, monkeypatch):
    """A model in closed form has no curve of validation, and would be taken for the worst."""
    data = split(clusters(n_users=60, n_items=40, length=8).interactions, LeaveLastOut())
    fitted = build(IALSConfig(embedding_size=8), 60, 40, seed=0)
    fitted.fit(data.train)
    untrained = build(MatrixFactorizationConfig(embedding_size=8), 60, 40, seed=0).eval()
    context, stages = made(data, untrained=untrained, fitted=fitted)
    monkeypatch.setattr(Store, "result", lambda self, stage: {"bytes": 10_000})
    task = Truncate(stages["made"], (stages["untrained"], stages["fitted"]), stages["like"])
    task.execute(context, lambda done, of, text: None)
    assert type(load_model(context.store.folder(stages["made"]))).__name__ == "IALS"


def test_a_factorisation_knows_no_more_of_held_out_items_than_students_do(made):
    """Soft labels leave them out; a teacher that reads content scores them."""
    data = split(clusters(n_users=60, n_items=40).interactions, ColdItems(share=0.3))
    teacher = build(MatrixFactorizationConfig(embedding_size=8), 60, 40, seed=0).eval()
    context, stages = made(data, teacher=teacher)
    student = Student(model=MatrixFactorizationConfig(embedding_size=4), precision="float16")
    Factorise(stages["made"], stages["teacher"], student, 0).execute(context, lambda done, of, text: None)
    found = load_model(context.store.folder(stages["made"]))
    assert found.width == 4
    assert not found.items[np.flatnonzero(data.cold_items)].any()
    assert not found.bias[np.flatnonzero(data.cold_items)].any()
    assert found.items[np.flatnonzero(~data.cold_items)].abs().sum(1).min() > 0

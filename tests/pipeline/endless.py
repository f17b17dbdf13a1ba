"""A run that trains for hours, for tests that kill it: `python endless.py FOLDER`."""

import sys
from pathlib import Path

from distilrec.data import cycles
from distilrec.pipeline import run_part
from distilrec.recipe import Recipe


class Teller:
    """Says when training has begun."""

    def begin(self, to_do: int, done: int) -> None: ...

    def step(self, stage: str, done: int, of: int, text: str) -> None:
        print(stage, flush=True)  # noqa: T201

    def end(self, stage: str, seconds: float) -> None: ...


if __name__ == "__main__":
    folder = Path(sys.argv[1])
    users, positions = (log := cycles(n_users=50, n_items=20, length=8).interactions).flat()
    rows = zip(users, log.histories.values[positions], positions, strict=True)
    source = folder / "log.csv"
    source.write_text("user,item,time\n" + "".join(f"{u},{i},{t}\n" for u, i, t in rows), encoding="utf-8")
    training = {"epochs": 10**6, "patience": 10**6}
    member = {"name": "mf", "model": {"model": "matrix_factorization", "embedding_size": 4}, "training": training}
    student = {"model": {"model": "matrix_factorization", "embedding_size": 4}}
    recipe = Recipe.model_validate({"data": {"source": str(source)}, "teacher": [member], "student": student})
    run_part(recipe, folder / "run", "teacher", jobs=1, progress=Teller())

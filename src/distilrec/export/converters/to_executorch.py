"""ExecuTorch: `python to_executorch.py convert STUDENT.pt2 STUDENT.pte`, and `... serve STUDENT.pte`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any


def convert(source: str, out: str) -> None:
    """Lower what torch.export saved, to XNNPACK where it can compute it."""
    import torch
    from executorch.backends.xnnpack.partition.xnnpack_partitioner import XnnpackPartitioner
    from executorch.exir import to_edge_transform_and_lower

    program = torch.export.load(source)
    lowered = to_edge_transform_and_lower(program, partitioner=[XnnpackPartitioner()]).to_executorch()
    with open(out, "wb") as file:  # noqa: PTH123
        file.write(lowered.buffer)


def opened(path: str) -> Callable[[list[Any]], Any]:
    """What it answers."""
    import torch
    from executorch.runtime import Runtime

    program = Runtime.get().load_program(path)
    method = program.load_method("forward")

    def answer(given: list[Any]) -> Any:
        inputs = [torch.tensor(values) for values in given]
        return method.execute([each if each.shape[1] > 1 else each.flatten() for each in inputs])[0]

    return answer


if __name__ == "__main__":
    from loop import main

    main(convert, opened)

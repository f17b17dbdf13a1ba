"""LiteRT: `python to_litert.py convert STUDENT.pt2 STUDENT.tflite`, and `... serve STUDENT.tflite`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any


def convert(source: str, out: str) -> None:
    """Lower what torch.export saved."""
    import litert_torch
    import torch

    program = torch.export.load(source)
    litert_torch.convert(program.module(), program.example_inputs[0]).export(out)


def opened(path: str) -> Callable[[list[Any]], Any]:
    """What it answers, with one thread."""
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(model_path=path, num_threads=1)
    interpreter.allocate_tensors()
    inputs = sorted(interpreter.get_input_details(), key=lambda each: each["name"])
    items = next(each for each in interpreter.get_output_details() if each["dtype"].__name__.startswith("int"))

    def answer(given: list[Any]) -> Any:
        for detail, values in zip(inputs, given, strict=True):
            interpreter.set_tensor(detail["index"], values.reshape(detail["shape"]).astype(detail["dtype"]))
        interpreter.invoke()
        return interpreter.get_tensor(items["index"])

    return answer


if __name__ == "__main__":
    from loop import main

    main(convert, opened)

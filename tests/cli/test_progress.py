"""What is shown of a run as it goes on."""

import pytest

from distilrec.cli.progress import Display


def test_the_run_after_a_search_is_counted_anew(capsys: pytest.CaptureFixture[str]) -> None:
    """Prevents "[3/1]", and a row for a search that is over."""
    with Display() as display:
        display.begin(2, 0)
        display.end("teacher", 1.0)
        display.end("try width 4", 1.0)
        display.begin(1, 2)
        display.end("test of teacher", 1.0)
        assert [task.description for task in display._live.tasks] == ["all stages"]
    lines = capsys.readouterr().err.splitlines()
    assert [line.split()[0] for line in lines] == ["[1/2]", "[2/2]", "2", "[1/1]"]


def test_a_finished_stage_says_what_it_found_and_no_bare_unit(capsys: pytest.CaptureFixture[str]) -> None:
    with Display() as display:
        display.begin(2, 0)
        display.step("content text", 40, 40, "items")
        display.end("content text", 1.0)
        display.step("member sasrec", 8, 8, "loss 5.2")
        display.end("member sasrec", 2.0)
    lines = capsys.readouterr().err.splitlines()
    assert [line.rstrip() for line in lines] == [
        "[1/2] content text in 1.0 s",
        "[2/2] member sasrec in 2.0 s  loss 5.2",
    ]

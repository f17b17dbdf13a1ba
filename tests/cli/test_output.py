"""What is printed is what was meant."""

import pytest

from distilrec.cli.output import fail, fitting, show, show_table

HOSTILE = "pip install 'a[train]' [/x] :cat:"


def test_text_is_printed_as_it_is(capsys: pytest.CaptureFixture[str]) -> None:
    """Rich drops [train] from a line to be copied, and fails at a column that is called item[/x]."""
    show_table(f"title {HOSTILE}", [f"first {HOSTILE}", "second"], [[HOSTILE, "[red]"]])
    show({"value": HOSTILE}, as_json=False)
    fail(HOSTILE)
    out, err = capsys.readouterr()
    assert out.count(HOSTILE) == 4
    assert "[red]" in out
    assert err == f"Error: {HOSTILE}\n"


@pytest.mark.parametrize(("width", "shown"), [(5, 1), (16, 1), (17, 2), (22, 2), (23, 3), (80, 3)])
def test_only_columns_that_fit_are_counted(width: int, shown: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ten columns in eighty characters fold every number, and nobody can read them."""
    monkeypatch.setenv("COLUMNS", str(width))
    columns, rows = ("method", "p", "s"), [["kl", "0.1", "300"], ["rrd", "0.01", "3"]]
    assert fitting(columns, rows) == shown

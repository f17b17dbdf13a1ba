"""The page: complete, self-contained, safe against what titles may hold, and readable by machines."""

import json
import re
from html.parser import HTMLParser

import pytest

from distilrec.report import Report, render, verdict, write

HOSTILE = "</script><script>alert(1)</script><img src=x onerror=alert(1)>\"'&{{ 7 * 7 }}\u202e"
VOID = {"meta", "img", "link", "br", "hr", "input", "base"}
LOADING = {"src", "href", "xlink:href", "srcset", "data", "poster", "action", "formaction", "background"}


class Page(HTMLParser):
    """Collects elements and their attributes, and checks that tags nest."""

    def __init__(self, text):
        super().__init__()
        self.elements, self.open, self.text = [], [], []
        self.feed(text)
        assert not self.open

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text.append(data)

    def all(self, tag):
        return [attrs for name, attrs in self.elements if name == tag]


@pytest.fixture
def hostile(example):
    """The example with hostile text in every place that takes free text."""
    example["data"].update(name=HOSTILE, split=HOSTILE, notes=[HOSTILE])
    example["recipe"][HOSTILE] = HOSTILE
    example["arms"][0].update(model=HOSTILE, method=HOSTILE)
    example["comparisons"][0]["test"] = HOSTILE
    example["pareto"][0].update(name=HOSTILE, precision=HOSTILE)
    example["slices"][0]["by"] = HOSTILE
    example["slices"][0]["bins"][0]["label"] = HOSTILE
    example["examples"][0].update(user=HOSTILE, history=[HOSTILE], held_out=[HOSTILE])
    example["examples"][0]["teacher"][0].update(item=HOSTILE, title=HOSTILE)
    example["disagreements"][0]["title"] = HOSTILE
    example["audit"][0].update(check=HOSTILE, sentence=HOSTILE, value=HOSTILE)
    example["tuning"][0].update(note=HOSTILE, settings={HOSTILE: HOSTILE})
    example["curves"][0]["losses"] = {
        HOSTILE: example["curves"][0]["loss"],
        "b": example["curves"][0]["loss"],
    }
    example["environment"].update(machine=HOSTILE, command=HOSTILE, commit=HOSTILE, versions={HOSTILE: HOSTILE})
    return Report.model_validate(example)


def test_the_verdict_comes_first(example_report):
    text = render(example_report)
    heading = re.search(r"<h1>(.*?)</h1>", text).group(1).replace("\u00a0", " ")
    assert heading.replace("&#39;", "'").replace("&lt;", "<") == verdict(example_report)
    assert text.index("<h1>") < text.index("<h2") < text.index("<table")


def test_every_part_is_on_the_page(example_report):
    page = Page(render(example_report))
    targets = {attrs["href"][1:] for attrs in page.all("a")}
    assert targets == {attrs["id"] for _, attrs in page.elements if attrs.get("id") in targets}
    assert {"quality", "comparisons", "pareto", "training", "slices", "agreement"} < targets
    assert {"users", "drift", "audit", "tuning", "recipe"} < targets
    text = "".join(page.text)
    for arm in example_report.arms:
        assert arm.name in text
    for part in (
        "0.0931",
        "sasrec 0.62, ease 0.38",
        "[0.0852, 0.1010]",
        "Time order",
        "batch_size",
        "4be2f01",
        "threads per process: 2",
        "reg: 250.0",
        "172.5 lower",
        "0.412",
    ):
        assert part in text


def test_the_minimal_report_leaves_parts_out_and_no_dangling_link(minimal):
    page = Page(render(Report.model_validate(minimal)))
    assert {attrs["href"] for attrs in page.all("a")} == {"#quality", "#comparisons", "#recipe"}
    assert "No arms were compared in this run." in "".join(page.text)


@pytest.mark.parametrize("kind", ["example_report", "hostile"])
def test_nothing_is_loaded_from_anywhere(kind, request):
    """A report is opened offline, and by people who must not be tracked."""
    text = render(request.getfixturevalue(kind))
    for tag, attrs in Page(text).elements:
        assert tag not in {"link", "img", "iframe", "object", "embed", "base", "form"}
        for name in LOADING & set(attrs):
            assert attrs[name].startswith("#"), (tag, name, attrs[name])
    style = re.search(r"<style>(.*?)</style>", text, re.DOTALL).group(1)
    assert "url(" not in style
    assert "@import" not in style
    (policy,) = [attrs["content"] for attrs in Page(text).all("meta") if "http-equiv" in attrs]
    assert policy.startswith("default-src 'none'")


def test_hostile_text_stays_text(hostile):
    """Titles come from the world; a title that is a script must be shown, not run."""
    text = render(hostile)
    page = Page(text)
    assert len(page.all("script")) == 1
    assert not any(name.startswith("on") for _, attrs in page.elements for name in attrs)
    assert "<script>alert" not in text
    assert "49" not in re.findall(r"alert\(1\)&gt;&#34;&#39;&amp;(\S*)", text)
    assert "".join(page.text).count("<script>alert(1)</script>") >= 20


def test_the_script_is_the_one_that_the_policy_allows(example_report):
    """A browser silently drops a script whose hash differs, and with it the tooltips."""
    import base64
    import hashlib

    text = render(example_report)
    script = re.search(r"<script>(.*)</script>", text, re.DOTALL).group(1)
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    assert f"script-src 'sha256-{digest}'" in text


def test_tables_and_pictures_speak(example_report):
    """Screen readers need captions, scopes and names."""
    page = Page(render(example_report))
    assert len(page.all("caption")) == len(page.all("table")) > 8
    assert all(attrs.get("scope") in {"row", "col"} for attrs in page.all("th"))
    for attrs in page.all("svg"):
        assert attrs.get("aria-hidden") == "true" or attrs.get("aria-label") or "preserveaspectratio" in attrs
    ids = [attrs["id"] for _, attrs in page.elements if "id" in attrs]
    assert len(set(ids)) == len(ids)
    labels = {attrs["aria-labelledby"] for attrs in page.all("section")}
    assert labels <= set(ids)


def test_hits_and_shared_items_are_marked(example_report):
    """The first user's held-out item is third of the teacher's list and fifth of the student's."""
    lists = re.findall(r"<ol>(.*?)</ol>", render(example_report), re.DOTALL)
    rows = [re.findall(r"<li.*?</li>", text, re.DOTALL) for text in lists[:2]]
    assert [[i for i, row in enumerate(rows[n], 1) if 'class="hit"' in row] for n in (0, 1)] == [[3], [5]]
    shared = [sum("both" in row for row in rows[n]) for n in (0, 1)]
    assert shared == [6, 6]


def test_pictures_of_listed_items_come_with_the_page(example_report):
    """The policy allows what is in the page itself, and only where there is something."""
    item = example_report.examples[0].teacher[0].item
    text = render(example_report, {item: "data:image/jpeg;base64,AAAA"})
    page = Page(text)
    assert {attrs["src"] for attrs in page.all("img")} == {"data:image/jpeg;base64,AAAA"}
    assert all(attrs["alt"] == "" for attrs in page.all("img"))  # the title stands beside it
    (policy,) = [attrs["content"] for attrs in page.all("meta") if "http-equiv" in attrs]
    assert "img-src data:;" in policy
    assert "img-src" not in render(example_report)


def test_a_teacher_of_zero_is_rendered(minimal):
    minimal["arms"][0]["metrics"]["ndcg@10"]["mean"] = 0.0
    minimal["retention"] = {"ndcg@10": None}
    Page(render(Report.model_validate(minimal)))


def test_the_page_is_small(example_report):
    """It is opened on phones: no charting library of megabytes."""
    assert len(render(example_report).encode()) < 250_000


def test_write_leaves_two_files_and_nothing_else(example_report, tmp_path):
    for _ in range(2):
        write(example_report, tmp_path / "run")
    assert sorted(path.name for path in (tmp_path / "run").iterdir()) == ["report.html", "report.json"]
    text = (tmp_path / "run" / "report.json").read_text(encoding="utf-8")
    assert Report.from_json(text) == example_report
    assert json.loads(text)["schema"] == 1
    assert (tmp_path / "run" / "report.html").read_text(encoding="utf-8") == render(example_report)


def test_an_interrupted_write_keeps_the_old_report(example_report, minimal, tmp_path, monkeypatch):
    """Half a page in place of the last good one would be worse than none."""
    write(example_report, tmp_path)
    before = (tmp_path / "report.json").read_bytes()

    def fail(*_):
        raise OSError("disk full")

    monkeypatch.setattr("pathlib.Path.replace", fail)
    with pytest.raises(OSError, match="disk full"):
        write(Report.model_validate(minimal), tmp_path)
    assert (tmp_path / "report.json").read_bytes() == before
    assert sorted(path.name for path in tmp_path.iterdir()) == ["report.html", "report.json"]

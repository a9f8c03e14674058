"""The documents say what is so: their code runs, their links lead somewhere, their tables are those of the program.

In Markdown, every `python` block runs, in order, in one namespace and one empty folder per file; of every `sh` block
each line runs: `offnormal …` through the command line, `python examples/… …` as a script. A block after the comment
`<!-- not run: why -->` is only read: its `offnormal` lines must have options that exist.

Trainings take a twentieth of the usual steps here, but for the notebook.
"""

from __future__ import annotations

import re
import runpy
import shlex
import sys
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import typer.main
from typer.testing import CliRunner

from offnormal import detector, thresholds
from offnormal.bench.jobs import cells
from offnormal.bench.records import read_all
from offnormal.bench.tables import table_named
from offnormal.cli import application
from offnormal.parameters import declared
from offnormal.registry import METHODS, method_class

ROOT = Path(__file__).parents[2]
READMES = ("README.md", "README.ko.md")
PAGES = [
    *READMES,
    "CHANGELOG.md",
    *(str(page.relative_to(ROOT)) for page in sorted((ROOT / "docs").rglob("*.md"))),
]
NOTEBOOK = ROOT / "docs" / "quickstart.ipynb"
STEPS = 200
CLASSES = {key: method_class(key) for key in METHODS}
"""Imported before any test lessens the budget of steps, which one of them has for a default."""
FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.DOTALL | re.MULTILINE)
LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
NOT_RUN = re.compile(r"<!-- not run: .+ -->\s*\Z")


@dataclass(frozen=True)
class Block:
    """A fenced block: its language, its text, and whether it is to be run."""

    language: str
    text: str
    runs: bool

    @property
    def without_comments(self) -> str:
        """The text as code alone, so that comments may be translated."""
        return re.sub(r"\s+# .*$", "", self.text, flags=re.MULTILINE)


def text_of(page: str) -> str:
    return (ROOT / page).read_text(encoding="utf-8")


def blocks(page: str) -> list[Block]:
    text = text_of(page)
    return [
        Block(found[1], found[2], NOT_RUN.search(text[: found.start()]) is None)
        for found in FENCE.finditer(text)
        if found[1] in ("python", "sh")
    ]


def table_rows(page: str, header: str) -> list[list[str]]:
    """Return the cells of the table with this header row."""
    lines = text_of(page).splitlines()
    start = lines.index(header) + 2
    rows = []
    for line in lines[start:]:
        if not line.startswith("|"):
            break
        rows.append([cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]])
    return rows


def run_line(line: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Run one line of a shell block."""
    program, *words = shlex.split(line)
    if program == "offnormal":
        result = CliRunner().invoke(application(words), words)
        assert result.exit_code == 0, f"{line}\n{result.output}"
        return
    assert program == "python", f"a line of a shell block that is neither offnormal nor python: {line}"
    monkeypatch.setattr(sys, "argv", words)
    runpy.run_path(str(ROOT / words[0]), run_name="__main__")


def check_options(line: str) -> None:
    """Raise if an `offnormal` line names a command or an option that does not exist."""
    program, *words = shlex.split(line, comments=True)
    if program == "offnormal":
        group: Any = typer.main.get_command(application(words))
        group.commands[words[0]].make_context(words[0], words[1:])


@pytest.mark.parametrize(
    "page",
    [
        pytest.param(READMES[0], marks=pytest.mark.slow),
        *(page for page in PAGES if page not in READMES and blocks(page)),
    ],
)
def test_the_code_of_a_page_runs(page: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(detector, "STEP_BUDGET", STEPS)
    namespace: dict[str, Any] = {}
    for block in blocks(page):
        if block.language == "python" and block.runs:
            exec(compile(block.text, page, "exec"), namespace)  # noqa: S102  the documents are ours
        elif block.language == "sh":
            for line in block.text.splitlines():
                if block.runs:
                    run_line(line, monkeypatch)
                else:
                    check_options(line)


def test_a_wrong_option_in_a_block_that_is_not_run_is_noticed() -> None:
    with pytest.raises(Exception, match="--nme"):
        check_options("offnormal fit data.csv -o model.offnormal --nme a,b")


def test_both_readmes_are_short_and_have_the_same_code() -> None:
    english, korean = (blocks(page) for page in READMES)
    assert [(b.language, b.without_comments, b.runs) for b in english] == [
        (b.language, b.without_comments, b.runs) for b in korean
    ]
    for page in READMES:
        assert len(text_of(page).splitlines()) <= 120, page


@pytest.mark.parametrize("page", [page for page in PAGES if page.endswith(".ko.md") and page not in READMES])
def test_a_korean_page_has_the_code_of_the_english_one(page: str) -> None:
    """It runs there; here it is marked as not run."""
    english, korean = blocks(page.replace(".ko.md", ".md")), blocks(page)
    assert [(b.language, b.without_comments) for b in korean] == [(b.language, b.without_comments) for b in english]
    assert not any(block.runs for block in korean)
    assert Path(page).name in text_of(page.replace(".ko.md", ".md")), "the English page says that there is a Korean one"


@pytest.mark.parametrize("page", PAGES)
def test_links_lead_somewhere(page: str) -> None:
    for target in LINK.findall(FENCE.sub("", text_of(page))):
        if target.startswith(("http://", "https://")):
            continue
        place, _, anchor = target.partition("#")
        found = (ROOT / page).parent / place if place else ROOT / page
        assert found.exists(), f"{page} links to {target}"
        if anchor:
            headings = re.findall(r"^#+ (.+)$", found.read_text(encoding="utf-8"), re.MULTILINE)
            anchors = [re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings]
            assert anchor in anchors, f"{page} links to {target}; there are {anchors}"


@pytest.mark.parametrize("key", METHODS)
def test_every_method_has_a_page_with_its_parameters_presets_and_a_line_in_both_readmes(key: str) -> None:
    page, cls = f"docs/methods/{key}.md", CLASSES[key]
    rows = table_rows(page, "| parameter | default | meaning | source |")
    assert [(row[0], row[1]) for row in rows] == [(f"`{n}`", f"`{d!r}`") for n, (d, _) in declared(cls).items()]
    for row, (_, constraint) in zip(rows, declared(cls).values(), strict=True):
        assert row[2].replace("\\|", "|") == constraint.help
        assert row[3] == ("" if constraint.source == "-" else constraint.source)
    for preset in cls.presets:
        assert f"`{preset}`" in text_of(page)
    for heading in ("## Idea", "## Equations", "## Differences from", "## Defaults", "## What is known"):
        assert heading in text_of(page)
    for readme in READMES:
        assert f"[`{key}`](docs/methods/{key}.md) | `{cls.__name__}`" in text_of(readme)


def test_every_test_named_in_a_page_is_there() -> None:
    named = [name for page in PAGES for name in re.findall(r"`(tests/[\w/]+\.py(?:::\w+)?)`", text_of(page))]
    assert named
    for place, _, test in (name.partition("::") for name in named):
        assert f"def {test}(" in text_of(place) if test else (ROOT / place).is_file(), f"{place}::{test}"


def test_every_threshold_rule_is_explained() -> None:
    rows = table_rows("docs/thresholds.md", "| rule | the cut | promises | does not promise | refused when |")
    rules = [re.findall(r"`([^`]+)`", row[0])[0] for row in rows]
    assert [rule.partition(":")[0] for rule in rules] == list(thresholds.RULES)
    for rule in rules:
        assert str(thresholds.parse_rule(rule)) == rule
    assert rules[0] == thresholds.DEFAULT_RULE


def test_the_architecture_is_the_one_that_is_built() -> None:
    page = "docs/architecture.md"
    fences = [found[2] for found in FENCE.finditer(text_of(page))]
    contracts = tomllib.loads(text_of("pyproject.toml"))["tool"]["importlinter"]["contracts"]
    assert fences[1].splitlines() == contracts[0]["layers"]
    named = re.findall(r"^  (\w+)(?:/|\.py) ", fences[0], re.MULTILINE)
    package = ROOT / "src" / "offnormal"
    rooms = {path.stem for path in package.iterdir() if path.suffix == ".py" or (path / "__init__.py").exists()}
    assert sorted(named) == sorted(rooms)
    assert all(f"`{name}`" in text_of(page) for name in (*METHODS, *typer.main.get_command(application()).commands))


def test_the_changelog_says_where_scores_changed() -> None:
    unreleased = text_of("CHANGELOG.md").split("## [")[1]
    assert unreleased.startswith("Unreleased]")
    assert "### Scores changed" in unreleased


@pytest.mark.slow
def test_the_notebook_runs_and_is_kept_without_outputs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import nbformat
    from nbclient import NotebookClient

    notebook = nbformat.read(NOTEBOOK, as_version=4)
    assert all(not cell.outputs and cell.execution_count is None for cell in notebook.cells if cell.cell_type == "code")
    monkeypatch.setenv("IPYTHONDIR", str(tmp_path / "ipython"))
    client = NotebookClient(notebook, timeout=120, kernel_name="python3", resources={"metadata": {"path": tmp_path}})
    client.execute()


def test_the_numbers_in_the_readmes_are_those_of_the_records() -> None:
    """F1 on the three data sets, of the runs made so far; a row with fewer than three runs says how many."""
    records = [r for r in read_all(ROOT / "benchmarks" / "results") if r["table"] == "dagmm" and "error" not in r]

    def cell(row: str) -> str:
        parts = []
        for data in ("kddcup", "thyroid", "arrhythmia"):
            (found,) = (c for c in cells(table_named("dagmm"), rows=[row], data=[data]))
            runs = found.records(records)
            mean = sum(r["f1"] for r in runs.values()) / len(runs)
            few = f" ({len(runs)} run{'s' * (len(runs) > 1)})" if len(runs) < 3 else ""
            parts.append(f"{mean:.3f}".removeprefix("0") + few)
        return " · ".join(parts)

    for readme in READMES:
        table = [line for line in text_of(readme).splitlines() if line.startswith("| [`")]
        lines = {line.split("`")[1]: line.split("|")[4:7] for line in table}
        assert [part.strip() for part in lines["dagmm"][1:]] == [cell("DAGMM"), cell("DAGMM, our defaults")], readme
        assert lines["auto"][2].strip() == cell("auto"), readme

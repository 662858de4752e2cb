"""The tables of figures are those of the result files, each of which a command wrote or a source published."""

import json
import re
import shlex

import pytest

import measure_results
import result_files
import results_table
from environment import ROOT
from nanoseg.errors import NanosegError
from result_files import FOLDER, KINDS, ResultFile, Row, read_result, read_rows

FILES = sorted(f"{path.parent.name}/{path.stem}" for path in FOLDER.glob("*/*.json") if path.parent.name != "gpu")


@pytest.mark.parametrize("page", results_table.PAGES, ids=lambda page: page.name)
def test_the_pages_have_the_tables_of_the_files(page):
    text = page.read_text(encoding="utf-8")
    assert text == results_table.inserted(text, results_table.PAGES[page]), "python benchmarks/results_table.py"


def test_readme_has_measured_estimated_and_published_figures():
    found = {read_result(name).kind for row in read_rows() if row.readme for name in row.cells}
    assert found == set(KINDS)


@pytest.mark.parametrize("name", FILES)
def test_files_say_where_their_figures_come_from(name):
    found = read_result(name)
    assert found.figures
    assert re.fullmatch(r"\d{4}(-\d\d-\d\d)?", found.environment["date"])
    if found.kind == "published":
        return
    assert re.fullmatch(r"[0-9a-f]{7,40}(\+changes)?", found.environment["commit"])
    assert found.environment["cpu"]
    words = shlex.split(found.command)
    if words[0] == "python":
        assert (ROOT / words[1]).is_file()
    else:
        assert words[0] in ("make", "nanoseg")


@pytest.mark.parametrize("name", FILES)
def test_every_file_has_a_row(name):
    assert name.startswith("track/") or any(name in row.cells for row in read_rows())


def test_every_file_that_is_not_carried_has_a_recipe():
    names = {name.removeprefix("cpu/") for name in FILES if name.startswith("cpu/")}
    carried = {name for name in names if read_result(f"cpu/{name}").carried}
    assert names - carried <= set(measure_results.RECIPES) <= names
    for name, recipe in measure_results.RECIPES.items():
        assert read_result(f"cpu/{name}").kind == recipe.kind


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """An empty folder of results."""
    for module in (result_files, measure_results, results_table):
        monkeypatch.setattr(module, "FOLDER", tmp_path)
    (tmp_path / "cpu").mkdir()
    return tmp_path


def save(folder, name, kind, figures, **more):
    environment = {"date": "2026-01-02", "commit": "abcdef0", "cpu": "A", "cpus": 2, "load": 0.1, "versions": {}}
    found = {"kind": kind, "command": "make it", "environment": environment, "figures": figures, **more}
    (folder / f"{name}.json").write_text(json.dumps(found))


def test_each_kind_has_a_column_of_its_own(folder):
    save(folder, "m", "measured", {"ms": {"8": 1.25}})
    save(folder, "e", "estimated", {"ms": 2})
    save(folder, "p", "published", {"ms": 3})
    save(folder, "c", "measured", {"ms": 4}, carried=True)
    rows = [Row("all", {"m": "{ms[8]:.1f} ms", "e": "{ms} ms", "p": "{ms} ms"}), Row("old", {"c": "{ms} ms"})]
    lines = results_table.table(rows).splitlines()
    assert lines[0] == "| what | measured | estimated | published | command or source |"
    assert lines[2] == "| all | 1.2 ms (1) | 2 ms | 3 ms | `make it`; make it |"
    assert lines[3] == "| old | 4 ms (2) |  |  | `make it` |"
    assert lines[-2:] == [
        "1. A, 2 CPUs, 2026-01-02",
        "2. A, 2 CPUs, 2026-01-02, carried over from the table that was kept by hand until then",
    ]


def test_changes_have_a_line_for_each_kept_comparison(folder):
    assert results_table.changes_table() == ""
    (folder / "track").mkdir()
    equal = {"ratio": 1.01, "low": 0.9, "high": 1.1, "word": "equal"}
    slower = {"ratio": 1.2, "low": 1.1, "high": 1.3, "word": "slower"}
    save(folder, "track/a", "measured", {"against": "1234567", "comparisons": {"nms": equal, "frame": slower}})
    save(folder, "track/b", "measured", {"against": "7654321", "comparisons": {"nms": equal}})
    *_, latest, first = results_table.changes_table().splitlines()
    assert latest == "| 2026-01-02 | abcdef0 | 7654321 | none of 1 figures |"
    assert first == "| 2026-01-02 | abcdef0 | 1234567 | frame 1.200 [1.100, 1.300] |"


@pytest.mark.parametrize("broken", [{"kind": "guessed"}, {"figures": None}])
def test_a_file_that_is_no_result_is_refused(folder, broken):
    save(folder, "m", "measured", {"ms": 1})
    found = json.loads((folder / "m.json").read_text()) | broken
    (folder / "m.json").write_text(json.dumps({key: value for key, value in found.items() if value is not None}))
    with pytest.raises(ValueError, match=r"m\.json: wanted command, environment, figures, kind"):
        read_result("m")


def test_a_missing_file_is_one_line_and_leaves_the_pages(folder, monkeypatch, tmp_path, capsys):
    page = tmp_path / "page.md"
    page.write_text(results_table.BEGIN + results_table.END)
    monkeypatch.setattr(results_table, "PAGES", {page: True})
    assert results_table.main() == 1
    assert re.fullmatch(r"results_table: FileNotFoundError: .*; nothing was written\n", capsys.readouterr().err)
    assert page.read_text() == results_table.BEGIN + results_table.END


def test_update_wraps_what_a_verb_prints(folder, monkeypatch):
    monkeypatch.setattr(measure_results, "run", lambda command: json.dumps({"accuracy": 1, "path": "/somewhere"}))
    recipe = measure_results.Recipe("nanoseg info parts --json", "-", keeps=("accuracy",))
    measure_results.update("accuracy", recipe)
    found = read_result("cpu/accuracy")
    assert isinstance(found, ResultFile)
    assert (found.kind, found.command, found.figures) == ("measured", "nanoseg info parts --json", {"accuracy": 1})
    head = found.environment["commit"]
    assert measure_results.is_written("accuracy", head)
    assert not measure_results.is_written("accuracy", "0000000")
    assert not measure_results.is_written("none", head)


def test_a_failed_command_leaves_the_file_and_is_told(folder, monkeypatch, capsys):
    save(folder, "cpu/line", "measured", {"ms": 1})

    def fail(command):
        raise NanosegError("it broke (exit code 1)")

    monkeypatch.setattr(measure_results, "run", fail)
    monkeypatch.setattr(results_table, "main", lambda: 0)
    monkeypatch.setattr("sys.argv", ["measure_results.py", "--only", "line"])
    assert measure_results.main() == 1
    assert "line: it broke (exit code 1)" in capsys.readouterr().err
    assert read_result("cpu/line").figures == {"ms": 1}


def test_unknown_names_are_refused(monkeypatch, capsys):
    monkeypatch.setattr("sys.argv", ["measure_results.py", "--only", "line,lines"])
    assert measure_results.main() == 2
    assert "got lines" in capsys.readouterr().err

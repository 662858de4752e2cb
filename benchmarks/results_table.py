"""Write the tables of figures in README.md and docs/benchmark.md anew, from the files in benchmarks/results.

python benchmarks/results_table.py

results/rows.toml says which figures there are, in which words; the column is the kind of the file they come from.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable

from environment import ROOT
from result_files import FOLDER, KINDS, ResultFile, Row, read_result, read_rows

BEGIN = "<!-- figures: benchmarks/results_table.py writes this -->\n"
END = "<!-- end of figures -->\n"
PAGES = {ROOT / "README.md": True, ROOT / "docs" / "benchmark.md": False}  # whether only the rows for README.md
HEAD = ("what", *KINDS, "command or source")


def main() -> int:
    """Write both pages; return 1 where a result file is missing, or lacks a figure."""
    try:
        pages = {path: inserted(path.read_text(encoding="utf-8"), readme) for path, readme in PAGES.items()}
    except (OSError, ValueError, LookupError) as error:
        print(f"results_table: {type(error).__name__}: {error}; nothing was written", file=sys.stderr)
        return 1
    for path, text in pages.items():
        path.write_text(text, encoding="utf-8")
    return 0


def inserted(page: str, readme: bool) -> str:
    """Return a page with today's table between BEGIN and END."""
    before, rest = page.split(BEGIN)
    parts = [table(row for row in read_rows() if row.readme or not readme)]
    if not readme and (kept := changes_table()):
        parts.append(kept)
    return before + BEGIN + "\n" + "\n".join(parts) + "\n" + END + rest.split(END)[1]


def changes_table() -> str:
    """Return what benchmarks/track.py found, the latest first, in Markdown; empty where nothing was kept."""
    found = [read_result(f"track/{path.stem}") for path in (FOLDER / "track").glob("*.json")]
    if not found:
        return ""
    found.sort(key=lambda each: (each.environment["date"], each.name), reverse=True)
    rows = [("date", "commit", "against", "slower or faster beyond noise: ratio, with an interval for all at once")]
    rows.append(("---",) * 4)
    for each in found:
        where = each.environment
        rows.append((where["date"], where["commit"], each.figures["against"], changes(each)))
    return "\n".join("| " + " | ".join(row) + " |" for row in rows) + "\n"


def changes(found: ResultFile) -> str:
    """Return the figures that differ, or that none of how many does."""
    compared = found.figures["comparisons"]
    differ = [
        f"{name} {each['ratio']:.3f} [{each['low']:.3f}, {each['high']:.3f}]"
        for name, each in compared.items()
        if each["word"] != "equal"
    ]
    return "; ".join(differ) or f"none of {len(compared)} figures"


def table(rows: Iterable[Row]) -> str:
    """Return the rows in Markdown, and below them where each figure comes from."""
    machines: list[str] = []
    lines = [HEAD, ("---",) * len(HEAD), *(cells(row, machines) for row in rows)]
    text = "\n".join("| " + " | ".join(each) + " |" for each in lines)
    notes = "\n".join(f"{index}. {machine}" for index, machine in enumerate(machines, 1))
    return f"{text}\n\nWhere it was measured:\n\n{notes}\n"


def cells(row: Row, machines: list[str]) -> tuple[str, ...]:
    """Return the cells of a row; machines that are not among `machines` are added."""
    texts: dict[str, list[str]] = {kind: [] for kind in KINDS}
    sources: list[str] = []
    for name, form in row.cells.items():
        found = read_result(name)
        text = found.text(form)
        if found.kind == "measured":
            text += f" ({note(found, machines)})"
        texts[found.kind].append(text)
        source = found.command if found.kind == "published" else f"`{found.command}`"
        sources += [source] * (source not in sources)
    return row.what, *("; ".join(texts[kind]) for kind in KINDS), "; ".join(sources)


def note(found: ResultFile, machines: list[str]) -> int:
    """Return the number of the machine, and the day, that a file was measured on."""
    text = machine(found)
    if text not in machines:
        machines.append(text)
    return machines.index(text) + 1


def machine(found: ResultFile) -> str:
    """Return where and when a file was measured, in words."""
    where = found.environment
    parts = [str(where["cpu"])]
    if "cpus" in where:
        parts.append(f"{where['cpus']} CPUs{', busy with other work' * (where['load'] > where['cpus'])}")
    if "onnxruntime" in where.get("versions", {}):
        parts.append(f"ONNX Runtime {where['versions']['onnxruntime']}")
    parts.append(where["date"])
    if found.carried:
        parts.append("carried over from the table that was kept by hand until then")
    return ", ".join(parts)


if __name__ == "__main__":
    sys.exit(main())

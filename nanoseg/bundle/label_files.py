"""Class names in a file: one a line, JSON, or YAML as data sets of Ultralytics have it, told apart by content.

Lines may begin with the class id, as `0,name` or `0 name`, below a line that names the columns or without one.

Of YAML a small part is read: a list or a mapping of names, alone or under `names:`, in a block or in brackets. Anything
else is refused, so that the lines of a configuration never become names.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from nanoseg.errors import UsageError
from nanoseg.utils.describe_file import describe_file
from nanoseg.utils.json_text import parse_json
from nanoseg.utils.read_file import read_text

_FORMS = "wanted one name a line, JSON, or YAML with names:"
_KEY = re.compile(r"""^(\s*)(?:"([^"]*)"\s*|'([^']*)'\s*|([^\s#:'"\[{][^#:]*)):(?:\s+(.*))?$""")
_ITEM = re.compile(r"^(\s*)-(?:\s+(.*))?$")
_SETTING = re.compile(r"\w+\s*=\s*\S")
_ROW = re.compile(r".*[,;\t]\s*\d+$")
_NUMBERED = re.compile(r"(\d{1,9})(\s*[,;\t]\s*|[.)]\s+| +)(\S.*)$")
_SCALAR = re.compile(r"""(?:"([^"\\]*)"|'((?:[^']|'')*)'|([^'"\[\]{},&*!|>%@`#\s][^\[\]{},]*))""")


def read_label_file(path: Path) -> list[str]:
    """Return the names in a file, by class id.

    Raises:
        UsageError: it cannot be read, is of no form that is known, has a name twice, or a class without one.
    """
    kind = describe_file(path, UsageError)
    if kind.name not in ("text", "json", "empty", "unknown"):
        raise UsageError(f"{path}: cannot be read as text: it is {kind.text}")
    text = read_text(path)
    lines = text.splitlines()
    if text.lstrip().startswith(("{", "[")):
        names = _from_value(parse_json(text, str(path)))
    elif any(_KEY.match(line) or _ITEM.match(line) or line.strip() == "---" for line in lines):
        names = _from_value(_read_yaml([_uncommented(line) for line in lines]))
    else:
        names = _from_lines([line.strip() for line in lines if line.strip() and not line.lstrip().startswith("#")])
    if names is None:
        raise UsageError(f"{path}: {_FORMS}, got something else; its lines were not taken for names")
    if "" in names:
        raise UsageError(f"{path}: class {names.index('')} has no name; wanted one for each class id")
    if (
        twice := next((name for at, name in enumerate(names) if name in names[:at]), None)
        if len(set(names)) < len(names)
        else None
    ):
        raise UsageError(f"{path}: the name {twice!r} is there twice; wanted each once, in the order of the class ids")
    return names


def _from_lines(lines: list[str]) -> list[str] | None:
    """Return the names of lines: one each, behind its number or not, or all in one; None for settings or a table."""
    if any(_SETTING.match(line) for line in lines) or (lines[1:] and all(map(_ROW.match, lines[1:]))):
        return None
    if len(lines) == 1:
        return [name.strip() for name in lines[0].split(",") if name.strip()]
    found = [_NUMBERED.match(line) for line in lines]
    if len(lines) > 2 and found[0] is None and re.search(r"[,;\t]", lines[0]):
        found = found[1:]  # the first line names the columns
    by_id = {int(match[1]): match[3].strip().strip('"') for match in found if match}
    if None in found or not by_id:
        return lines
    first, blanks = min(by_id), _has_blanks(found)
    is_series = sorted(by_id) == list(range(first, first + len(found)))
    # Numbers from 1 before a blank may belong to the names: 1 euro, 2 euro.
    if is_series and first <= (not blanks) and not any("," in name for name in by_id.values()):
        return [by_id[at] for at in sorted(by_id)]
    return lines if blanks else None


def _has_blanks(found: list[re.Match[str] | None]) -> bool:
    """Return whether a blank alone follows the numbers."""
    return any(match is not None and not match[2].strip(" ") for match in found)


def _from_value(value: Any) -> list[str] | None:
    """Return the names in a value: those of `names`, of COCO's `categories`, a list, or a mapping from or to ids."""
    if isinstance(value, Mapping):
        if "names" in value:
            return _from_value(value["names"])
        if "categories" in value:
            return _from_value(value["categories"])
        if value and all(type(number) is int for number in value.values()):
            value = {number: name for name, number in value.items()}
        if not all(str(number).isdecimal() and len(str(number)) < 10 for number in value):
            return None
        by_id = {int(number): name for number, name in value.items()}
        value = [by_id[number] for number in sorted(by_id)] if sorted(by_id) == list(range(len(value))) else None
    elif isinstance(value, list) and value and all(isinstance(entry, Mapping) for entry in value):
        if not all(type(entry.get("id")) is int for entry in value):
            return None
        value = [entry.get("name") for entry in sorted(value, key=lambda entry: entry["id"])]
    if not isinstance(value, list) or not value or not all(isinstance(name, str | int) for name in value):
        return None
    return [str(name).strip() for name in value]


def _read_yaml(lines: list[str]) -> Any:
    """Return a list or mapping of names, alone or under `names:`; None for any other YAML."""
    lines = [line for line in lines if line.strip() not in ("", "---", "...")]
    start = next((at for at, line in enumerate(lines) if re.match(r"""["']?names["']?\s*:""", line)), None)
    if start is None:
        return _read_block(lines)
    rest = lines[start].partition(":")[2].strip()
    end = next((at for at in range(start + 1, len(lines)) if re.match(r"[^\s\-\]}]", lines[at])), len(lines))
    block = lines[start + 1 : end]
    return _read_brackets(" ".join([rest, *block])) if rest else _read_block(block)


def _read_block(lines: list[str]) -> Any:
    """Return the list `- a` or the mapping `0: a` of lines of one indentation."""
    items, keys = [_ITEM.match(line) for line in lines], [_KEY.match(line) for line in lines]
    found = items if all(items) else keys
    if not lines or not all(found) or len({match[1] for match in found if match}) != 1:
        return None
    names = [_scalar(match[match.re.groups] or "") for match in found if match]
    if None in names:
        return None
    if found is items:
        return names
    numbers = [(match[2] or match[3] or match[4]).strip() for match in keys if match]
    return dict(zip(numbers, names, strict=True)) if len(set(numbers)) == len(numbers) else None


def _read_brackets(text: str) -> Any:
    """Return the list `[a, b]` or the mapping `{0: a, 1: b}`; None for any other text."""
    text = text.strip()
    if text[:1] + text[-1:] not in ("[]", "{}"):
        return None
    parts = _split(text[1:-1])
    if text[0] == "[":
        names = [_scalar(part) for part in parts]
        return None if None in names else names
    return _read_block(parts)


def _split(text: str) -> list[str]:
    """Return what lies between the commas that are in no quotes; a comma behind the last is allowed, as in YAML."""
    parts, quote = [""], ""
    for letter in text:
        if quote:
            quote = "" if letter == quote else quote
        elif letter in "'\"" and not parts[-1].strip().rpartition(":")[2].strip():  # where a name begins
            quote = letter
        elif letter == ",":
            parts.append("")
            continue
        parts[-1] += letter
    parts = [part.strip() for part in parts]
    return parts[:-1] if not parts[-1] else parts


def _scalar(text: str) -> str | None:
    """Return a plain or quoted name; None for anything that YAML reads otherwise."""
    match = _SCALAR.fullmatch(text.strip())
    if match is None:
        return None
    return next(group for group in match.groups() if group is not None).replace("''", "'")


def _uncommented(line: str) -> str:
    """Return a line without its comment: from a # at its start or behind a space, outside of quotes."""
    quote, before = "", " "
    for at, letter in enumerate(line):
        if quote:
            quote = "" if letter == quote else quote
        elif letter in "'\"" and before in " \t[{,:":
            quote = letter
        elif letter == "#" and before.isspace():
            return line[:at].rstrip()
        before = letter
    return line.rstrip()

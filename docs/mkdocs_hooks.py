"""Hooks of mkdocs: pages made of files outside docs/, and links that lead to them.

README.md and the like are read on GitHub as well, so they stay where they are, with links that work there.
"""

from __future__ import annotations

import inspect
import posixpath
import re
from pathlib import Path
from typing import Annotated, Any, get_args, get_origin, get_type_hints

from mkdocs.structure.files import File, Files

ROOT = Path(__file__).resolve().parents[1]
# Of the repository, and as which page of the site.
PAGES = {
    "README.md": "index.md",
    "CONTRIBUTING.md": "contributing.md",
    "CHANGELOG.md": "changelog.md",
    "engines/README.md": "recipes.md",
}
_LINK = re.compile(r"(?P<start>!?)\[(?P<text>(?:[^\[\]]|\[[^\]]*\])*)\]\((?P<path>[^)\s#]+)(?P<anchor>#[^)\s]*)?\)")

CONFIGURATION = "<!-- configuration -->"  # of docs/service.md


def on_files(files: Files, *, config: Any) -> Files:
    """Add the pages that are made of files outside docs/."""
    for source, page in PAGES.items():
        files.append(File.generated(config, page, content=(ROOT / source).read_text(encoding="utf-8")))
    return files


def on_page_markdown(markdown: str, *, page: Any, **_: Any) -> str:
    """Let relative links lead to pages; a link to any other file of the repository becomes its text."""
    if CONFIGURATION in markdown:
        markdown = markdown.replace(CONFIGURATION, configuration_reference())
    sources = {page: source for source, page in PAGES.items()}
    source = sources.get(page.file.src_uri, f"docs/{page.file.src_uri}")
    folder = posixpath.dirname(page.file.src_uri)

    def link(match: re.Match[str]) -> str:
        path, anchor = match["path"], match["anchor"] or ""
        if ":" in path:
            return match[0]
        target = posixpath.normpath(posixpath.join(posixpath.dirname(source), path))
        if not (ROOT / target).exists():
            return match[0]  # mkdocs warns of it
        if target in PAGES:
            target = f"docs/{PAGES[target]}"
        if not target.startswith("docs/"):
            return match["text"]
        return f"{match['start']}[{match['text']}]({posixpath.relpath(target[5:], folder or '.')}{anchor})"

    return _LINK.sub(link, markdown)


def configuration_reference() -> str:
    """Return tables of the keys of `nanoseg serve`'s configuration, as its structs have them with their comments."""
    import msgspec

    from nanoseg.service import config

    tables = []
    hints = get_type_hints(config.ServiceConfig)
    for name in config.ServiceConfig.__struct_fields__:
        [struct] = [each for each in _parts(hints[name]) if isinstance(each, type) and issubclass(each, msgspec.Struct)]
        is_array = get_origin(hints[name]) in (list, Annotated)
        rows = [f"### {f'[[{name}]]' if is_array else f'[{name}]'}", "", (struct.__doc__ or "").strip(), ""]
        rows += ["| key | default | |", "|---|---|---|"]
        comments = dict(re.findall(r"^    (\w+):[^#\n]*#\s*(.*)$", inspect.getsource(struct), re.MULTILINE))
        for field in msgspec.structs.fields(struct):
            default = "wanted" if field.required else f"`{_toml(field.default)}`" if field.default is not None else ""
            rows.append(f"| `{field.name}` | {default} | {comments.get(field.name, '').replace('|', '/')} |")
        tables.append("\n".join(rows))
    return "\n\n".join(tables)


def _parts(hint: Any) -> list[Any]:
    """Return the types that a hint is made of."""
    return [hint] + [part for each in get_args(hint) for part in _parts(each)]


def _toml(value: Any) -> str:
    return {True: "true", False: "false"}.get(value, repr(value)) if isinstance(value, bool) else repr(value)

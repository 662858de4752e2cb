"""Every page: commands are accepted by the verbs they name, code is valid, links and extras exist."""

import ast
import inspect
import re
import shlex

import msgspec
import pytest

import nanoseg
from tests.docs.pages import BLOCKS, GUIDES, PAGES, all_flags, command_lines, find_verb, headings, inline_code
from tests.docs.pages import nanoseg_commands as commands
from tests.helpers.paths import ROOT

# Commands of the system on a Jetson: each was looked up, and doctor prints some of them.
SYSTEM = ("cat", "echo", "grep", "python3", "scp", "ssh", "sudo")
# Of YOLOX, pip, docker and venv; --help is every verb's.
OTHER_FLAGS = {
    *("--decode_in_inference", "--editable", "--help", "--index-url", "--no-deps", "--runtime"),
    "--system-site-packages",
}
COMMANDS = [(page, words) for page in PAGES for words in commands(page)]
IDS = [f"{page}: {' '.join(words)}"[:90] for page, words in COMMANDS]


@pytest.mark.parametrize("page", GUIDES)
def test_guides_have_known_commands_only(page):
    lines = command_lines(page)
    assert len(lines) > 10
    for line in lines:
        words = shlex.split(line)
        known = words[:2] in (["pip", "install"], [".", ".venv/bin/activate"]) or words[0] == "nanoseg"
        assert known or (page == "docs/jetson.md" and words[0] in SYSTEM), line


@pytest.mark.parametrize(
    "words", [pytest.param(words, id=f"{page}: {' '.join(words)}"[:90]) for page, words in COMMANDS]
)
def test_commands_are_accepted(words):
    command, arguments = find_verb(words)
    command.make_context("verb", arguments)  # raises for flags, values and arguments that the verb does not take


def test_commands_are_found():
    assert {page for page, _ in COMMANDS} >= {"README.md", *GUIDES}


@pytest.mark.parametrize("page", [page for page in PAGES if page != "benchmarks/results/README.md"])
def test_flags_and_verbs_in_the_text_exist(page):
    for words in inline_code(PAGES[page]):
        flags = set(re.findall(r"(?<!\S)(--[a-z0-9][a-z0-9_-]*)", words))
        if script := re.match(r"python (benchmarks/\w+\.py)", words):
            sources = [(ROOT / path).read_text(encoding="utf-8") for path in (script[1], "benchmarks/common.py")]
            assert all(f'"{flag}"' in "".join(sources) for flag in flags), words
            continue
        assert flags <= all_flags() | OTHER_FLAGS, words
        if verb := re.match(r"nanoseg( [a-z][a-z0-9-]*)+", words):
            find_verb(verb[0].split()[1:])


@pytest.mark.parametrize("block", [block for block in BLOCKS if block.language], ids=lambda block: block.page)
def test_code_is_valid(block):
    if block.language == "toml":
        msgspec.toml.decode(block.text)
    elif block.language == "python":
        _check_calls(ast.parse(block.text))


def _check_calls(tree):
    """Hold calls of `segmenter` and `nanoseg` against their signatures."""
    for call in (node for node in ast.walk(tree) if isinstance(node, ast.Call)):
        if not isinstance(call.func, ast.Attribute) or not isinstance(call.func.value, ast.Name):
            continue
        owner = {"segmenter": nanoseg.Segmenter, "nanoseg": nanoseg}.get(call.func.value.id)
        if owner is None:
            continue
        bound = [None] if owner is nanoseg.Segmenter else []
        keywords = {keyword.arg: None for keyword in call.keywords}
        inspect.signature(getattr(owner, call.func.attr)).bind(*bound, *call.args, **keywords)


@pytest.mark.parametrize("page", PAGES)
def test_links_lead_somewhere(page):
    for link in re.findall(r"\]\(([^)]*)\)", re.sub(r"`[^`]*`", "", PAGES[page])):
        assert not re.search(r"\s", link), link
        if link.startswith("https://"):
            continue
        path, _, anchor = link.partition("#")
        target = ((ROOT / page).parent / path).resolve() if path else ROOT / page
        assert target.exists(), link
        if anchor:
            text = target.read_text(encoding="utf-8")
            assert anchor in [_github_anchor(heading) for heading in headings(text)], link
            assert anchor in [_site_anchor(heading) for heading in headings(text)], link


def _github_anchor(heading):
    return re.sub(r"[^a-z0-9 _-]", "", heading.lower()).replace(" ", "-")


def _site_anchor(heading):
    """As the site's generator makes it (Python-Markdown's toc)."""
    return re.sub(r"[-\s]+", "-", re.sub(r"[^\w\s-]", "", heading).strip().lower())


@pytest.mark.parametrize("page", ["README.md", *GUIDES])
def test_extras_exist(page):
    extras = msgspec.toml.decode((ROOT / "pyproject.toml").read_bytes())["project"]["optional-dependencies"]
    named = re.findall(r"(?:nanoseg|\.)\[([a-z0-9,]+)\]", PAGES[page])
    assert named
    assert {extra for group in named for extra in group.split(",")} <= set(extras)


@pytest.mark.parametrize("page", PAGES)
def test_paths_exist(page):
    """Files of the repository, as a whole or below nanoseg/."""
    rooms = ("nanoseg", "tools", "benchmarks", "tests", "docs")
    for words in inline_code(PAGES[page]):
        if re.fullmatch(rf"({'|'.join(rooms)})/[\w/.-]*", words) and "NAME" not in words:
            assert (ROOT / words).exists(), words
        elif re.fullmatch(r"[a-z_]+/[a-z_/]+\.py", words):
            assert any((base / words).exists() for base in (ROOT, ROOT / "nanoseg")), words

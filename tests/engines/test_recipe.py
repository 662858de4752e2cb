"""Recipes: nanoseg's own, one's own in the folder of the engines, and what the command line changes of them."""

import dataclasses
import re

import msgspec
import pytest

from nanoseg.bundle.manifest import GRAPHS, OPTIONAL_GRAPHS
from nanoseg.engines.recipe import FOLDER, DimensionRange, Recipe, RecipeOverrides, read_recipe
from nanoseg.errors import UsageError
from tests.helpers.paths import ROOT

FLAGS = "tf32 = true\noptimization_level = 3\nversion_compatible = false\n"
PAIRS = "workspace_mb = [[16, 512], [8, 192], [32, 1024]]\n" + FLAGS
SIDES = "[dimensions.prompts]\nmin = 1\nopt = 4\nmax = {}\n"


@pytest.fixture
def engines(tmp_path):
    return tmp_path


def write(engines, text, graph="detect"):
    path = engines / f"{graph}.toml"
    path.write_text(text)
    return path


def test_recipe_for_every_graph():
    names = (*GRAPHS, *OPTIONAL_GRAPHS)
    assert {path.stem for path in FOLDER.glob("*.toml")} == set(names)
    recipes = {name: read_recipe(name) for name in names}
    precisions = {"prepare": "fp32", "detect": "int8", "embed": "fp16", "segment": "fp32", "segment_boxes": "fp32"}
    precisions["segment_mask"] = "fp32"
    assert {name: made.precision for name, made in recipes.items()} == precisions
    assert recipes["prepare"].dimensions == {
        "height": DimensionRange(120, 720, 1080),
        "width": DimensionRange(160, 1280, 1920),
    }
    decoder = {"prompts": DimensionRange(1, 4, 8), "points": DimensionRange(1, 2, 16)}
    assert recipes["segment"].dimensions == recipes["segment_mask"].dimensions == decoder
    assert recipes["segment"].workspace_mb == 256
    for name, made in recipes.items():
        assert (made.name, made.path) == (f"{name}.toml", FOLDER / f"{name}.toml")
        assert (made.tf32, made.optimization_level, made.version_compatible) == (True, 3, False)


def test_recipe_in_readme_is_the_shipped_one():
    shown = re.search(r"```toml\n(.*?)```", (ROOT / "engines" / "README.md").read_text(), re.S)
    own = (FOLDER / "segment.toml").read_bytes()
    assert msgspec.toml.decode(shown[1]) == msgspec.toml.decode(own)


def test_recipe_in_engines_folder_is_preferred(engines):
    path = write(engines, "workspace_mb = 77\n" + FLAGS.replace("true", "false"))
    made = read_recipe("detect", engines)
    assert (made.path, made.workspace_mb, made.tf32, made.precision) == (path, 77, False, None)
    assert read_recipe("embed", engines) == read_recipe("embed")


@pytest.mark.parametrize(
    ("maximum", "mb"), [(1, 192), (8, 192), (9, 512), (16, 512), (17, 1024), (32, 1024), (33, 1056), (64, 2048)]
)
def test_recipe_workspace_grows_with_prompts(engines, maximum, mb):
    write(engines, PAIRS + SIDES.format(8))
    assert read_recipe("detect", engines, RecipeOverrides(max_prompts=maximum)).workspace_mb == mb
    write(engines, PAIRS + SIDES.format(max(maximum, 4)))
    assert read_recipe("detect", engines).workspace_mb == (192 if maximum < 8 else mb)


def test_recipe_overrides():
    changes = RecipeOverrides(workspace_mb=99, max_frame_wh=(640, 480), max_prompts=2)
    made = {name: read_recipe(name, None, changes) for name in ("prepare", "detect", "segment")}
    assert [each.workspace_mb for each in made.values()] == [99, 99, 99]
    assert made["prepare"].dimensions == {
        "height": DimensionRange(120, 480, 480),
        "width": DimensionRange(160, 640, 640),
    }
    assert made["detect"].dimensions == {}
    assert made["segment"].dimensions == {"prompts": DimensionRange(1, 2, 2), "points": DimensionRange(1, 2, 16)}
    larger = read_recipe("prepare", None, RecipeOverrides(max_frame_wh=(5000, 4000)))
    assert larger.dimensions == {"height": DimensionRange(120, 720, 4000), "width": DimensionRange(160, 1280, 5000)}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("workspace_mb = \n", "not TOML"),
        (b"\xff\xfe", "wanted UTF-8 text, got UTF-16"),
        (FLAGS, "missing required field `workspace_mb`"),
        ("workspace_mb = 0\n" + FLAGS, "workspace_mb"),
        (f"workspace_mb = {1 << 21}\n" + FLAGS, "workspace_mb: Expected `int` <= 1048576"),
        ("workspace_mb = 'much'\n" + FLAGS, "workspace_mb"),
        ("workspace_mb = []\n" + FLAGS + SIDES.format(8), "workspace_mb: wanted a number, or pairs"),
        ("workspace_mb = [[8, 192]]\n" + FLAGS, "workspace_mb: wanted a number, or pairs beside dimensions.prompts"),
        ("workspace_mb = [[8]]\n" + FLAGS, "workspace_mb.*: .*length 2, got 1"),
        ("workspace_mb = 1\nfp16 = true\n" + FLAGS, "unknown field `fp16`"),
        ("workspace_mb = 1\nprecision = 'half'\n" + FLAGS, "precision: "),
        ("workspace_mb = 1\n" + FLAGS.replace("= 3", "= 6"), "optimization_level: "),
        ("workspace_mb = 1\n" + FLAGS.replace("true", "'yes'"), "tf32: "),
        ("workspace_mb = 1\n" + FLAGS + SIDES.format(3), r"dimensions\.prompts: wanted min <= opt <= max, got 1, 4, 3"),
        ("workspace_mb = 1\n" + FLAGS + SIDES.format(0), r"dimensions\[\.\.\.\]\.max: "),
        ("workspace_mb = 1\n" + FLAGS + "[dimensions.prompts]\nmin = 1\n", r"dimensions\[\.\.\.\]: .*`opt`"),
    ],
)
def test_recipe_error_names_file_and_key(engines, text, message):
    path = engines / "detect.toml"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(UsageError, match=rf"^{re.escape(str(path))}: .*{message}") as error:
        read_recipe("detect", engines)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("graph", "changes", "message"),
    [
        ("prepare", RecipeOverrides(max_frame_wh=(100, 480)), "--max-frame: width: wanted 160 or more, got 100"),
        ("prepare", RecipeOverrides(max_frame_wh=(640, 60)), "--max-frame: height: wanted 120 or more, got 60"),
        ("polish", None, "polish.toml: there is no recipe for polish"),
    ],
)
def test_recipe_override_refused(graph, changes, message):
    with pytest.raises(UsageError, match=message):
        read_recipe(graph, None, changes)


def test_recipe_override_below_minimum(engines):
    write(engines, "workspace_mb = 1\n" + FLAGS + "[dimensions.prompts]\nmin = 3\nopt = 4\nmax = 8\n")
    with pytest.raises(UsageError, match="--max-objects: prompts: wanted 3 or more, got 2"):
        read_recipe("detect", engines, RecipeOverrides(max_prompts=2))


def test_recipe_sha256_covers_what_changes_the_engine(engines):
    def sha256(text):
        write(engines, text)
        return read_recipe("detect", engines).sha256

    plain = "workspace_mb = 64\n" + FLAGS
    assert re.fullmatch("[0-9a-f]{64}", sha256(plain))
    assert sha256(plain) == sha256(f"# why\nprecision = 'fp16'\n{plain}")
    assert sha256(PAIRS + SIDES.format(8)) == sha256("workspace_mb = 192\n" + FLAGS + SIDES.format(8))
    made = read_recipe("segment")
    others = {
        "name": "x.toml",
        "workspace_mb": 1,
        "tf32": False,
        "optimization_level": 4,
        "version_compatible": True,
        "dimensions": {**made.dimensions, "points": DimensionRange(1, 2, 17)},
    }
    assert others.keys() | {"path", "precision"} == {field.name for field in dataclasses.fields(Recipe)}
    changed = {name: dataclasses.replace(made, **{name: value}).sha256 for name, value in others.items()}
    assert len({made.sha256, *changed.values()}) == 1 + len(others)

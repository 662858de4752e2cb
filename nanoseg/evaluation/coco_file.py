"""A COCO annotation file, read and checked before pycocotools sees any of it.

What has not the form of COCO instances is refused, the whole file: no JSON, a list or a key that is missing or of
another type, ids that are neither numbers nor text or are there twice, a category or an image size that cannot be. An
object that has the form and cannot be right is left out and told by its id: its image is not in the file, its id is
another object's, its box has NaN or Infinity, no area, or no part inside the picture. Boxes that reach beyond the
picture are kept as they are, as some data sets mark hidden parts, and told. What is told begins with the line and
column where the object, image or category begins.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from nanoseg.errors import SourceError
from nanoseg.evaluation.coco_keypoints import parse_keypoints
from nanoseg.utils.json_place import entry_places
from nanoseg.utils.json_text import parse_json
from nanoseg.utils.read_file import MAX_ANNOTATION_BYTES, read_text

MAX_SIDE_PX = 1 << 16  # of an image; more cannot be told from a mistake
ROUNDING_PX = 2.0  # that a box may reach beyond its image without a word
MAX_PLACED = 20  # objects of a kind whose line is looked for

Id = int | float | str

_NUMBERS = (int, float)  # bool is another type


@dataclass(frozen=True, eq=False)
class CocoObject:
    """One annotation: an object, or a crowd."""

    id: Id
    category_id: Id
    bbox: tuple[float, float, float, float]  # left, top, width, height
    is_crowd: bool
    segmentation: Any  # not checked yet; see coco_masks
    index: int  # in the file's list
    area_px: float | None  # as the file says: of its mask, mostly; None where it says no such number
    keypoints: tuple[float, ...] | None = None  # x, y, visibility of each


@dataclass(frozen=True, eq=False)
class CocoImage:
    """One image with what is in it."""

    id: Id
    file_name: str
    size_wh: tuple[int | None, int | None]  # as the file says; None where it does not
    objects: list[CocoObject] = field(default_factory=list)


@dataclass(frozen=True, eq=False)
class CocoFile:
    """The content of an annotation file."""

    categories: dict[Id, str]  # names by id, in the order of the ids
    images: list[CocoImage]  # in the order of their ids
    excluded: list[str]  # a line for each object that was left out: where it is, its id, and why
    reaching: list[str]  # a line for each object that was kept though its box reaches beyond its image


class _EntryError(ValueError):
    """An entry of one of the file's lists is wrong."""

    def __init__(self, key: str, index: int, message: str) -> None:
        super().__init__(message)
        self.key, self.index = key, index


def read_coco_file(path: Path) -> CocoFile:
    """Read a file of COCO instances.

    Raises:
        SourceError: it cannot be read, or has another form; the message names the first place that is wrong.
    """
    if not path.exists():
        raise SourceError(f"{path}: wanted a COCO annotation file, found none; give --annotations FILE")
    wanted = "wanted COCO instances as JSON, got something else"
    # The text, gigabytes of some data sets, is not kept for the few files in which something has to be placed.
    content = parse_json(_text(path), f"{path}: {wanted}", error=SourceError, allow_nan=True)
    try:
        parsed, excluded, reaching = _parse(content)
    except _EntryError as error:
        del content
        place = entry_places(_text(path), error.key, [error.index]).get(error.index)
        raise SourceError(f"{path}: {wanted}: {place}: {error}" if place else f"{path}: {wanted}: {error}") from error
    except ValueError as error:
        raise SourceError(f"{path}: {wanted}: {error}") from error
    parsed.excluded.extend(with_places(path, excluded))
    parsed.reaching.extend(with_places(path, reaching))
    return parsed


def with_places(path: Path, lines: Mapping[int, str]) -> list[str]:
    """Return lines about objects, by the object's index in the file's list, with line and column before the first."""
    if not lines:
        return []
    places = entry_places(_text(path), "annotations", list(lines)[:MAX_PLACED])
    return [f"{places[index]}: {line}" if index in places else line for index, line in lines.items()]


def _text(path: Path) -> str:
    return read_text(path, MAX_ANNOTATION_BYTES, SourceError)


def _parse(content: Any) -> tuple[CocoFile, dict[int, str], dict[int, str]]:
    """Return the content, and lines on excluded and on reaching objects by the object's index in the file's list."""
    if not isinstance(content, dict):
        raise ValueError(f"a {_kind(content)}, wanted an object with images, annotations and categories")
    images: dict[Id, CocoImage] = {}
    for index, entry in enumerate(_entries(content, "images")):
        with _in_entry("images", index):
            image = _image(entry)
            if image.id in images:
                raise ValueError(f"two images have the id {_short(image.id)}")
        images[image.id] = image
    categories: dict[Id, str] = {}
    for index, entry in enumerate(_entries(content, "categories")):
        with _in_entry("categories", index):
            number = _id(entry, "id", "a category")
            if number in categories:
                raise ValueError(f"two categories have the id {_short(number)}")
            categories[number] = str(_get(entry, "name", f"category {_short(number)}"))
    excluded: dict[int, str] = {}
    reaching: dict[int, str] = {}
    seen: set[Id] = set()
    for index, entry in enumerate(_entries(content, "annotations") if "annotations" in content else ()):
        with _in_entry("annotations", index):
            one, image_id = _object(entry, index, categories)
        reason = "another object has its id" if one.id in seen else _fault(one, images.get(image_id), image_id)
        seen.add(one.id)
        if reason:
            excluded[index] = f"object {_short(one.id)}: {reason}"
            continue
        image = images[image_id]
        image.objects.append(one)
        if (beyond_px := _reach_px(one, image)) > ROUNDING_PX:
            reaching[index] = f"object {_short(one.id)}: its bbox reaches {beyond_px:g} px beyond its image"
    ordered = {number: categories[number] for number in _sorted(categories, "categories")}
    return CocoFile(ordered, [images[number] for number in _sorted(images, "images")], [], []), excluded, reaching


@contextmanager
def _in_entry(key: str, index: int) -> Iterator[None]:
    """Tell of which entry of the file's lists a ValueError is."""
    try:
        yield
    except ValueError as error:
        raise _EntryError(key, index, str(error)) from error


def _image(entry: Mapping[str, Any]) -> CocoImage:
    number = _id(entry, "id", "an image")
    where = f"image {_short(number)}"
    name = _get(entry, "file_name", where)
    if not isinstance(name, str) or "\0" in name:
        raise ValueError(f"{where}: its file_name is {_short(name)}, wanted text")
    return CocoImage(number, name, (_side(entry, "width", where), _side(entry, "height", where)))


def _side(entry: Mapping[str, Any], key: str, where: str) -> int | None:
    value = entry.get(key)
    if value is None:
        return None
    if type(value) not in _NUMBERS or not 1 <= value <= MAX_SIDE_PX or value != int(value):
        raise ValueError(f"{where}: its {key} is {_short(value)}, wanted a whole number from 1 to {MAX_SIDE_PX}")
    return int(value)


def _object(entry: Mapping[str, Any], index: int, categories: Mapping[Id, str]) -> tuple[CocoObject, Id]:
    """Return an object, and the id of its image."""
    number = _id(entry, "id", "an object")
    category, image_id = _id(entry, "category_id", "object", number), _id(entry, "image_id", "object", number)
    if category not in categories:
        raise ValueError(
            f"object {_short(number)}: an object of category {_short(category)}, which is not among its categories"
        )
    box = _get(entry, "bbox", "object", number)
    if not isinstance(box, list) or len(box) != 4 or not all(type(side) in _NUMBERS for side in box):
        raise ValueError(f"object {_short(number)}: an object's bbox is {_short(box)}, wanted left, top, width, height")
    try:
        left, top, width, height = map(float, box)
    except OverflowError:  # a whole number of hundreds of digits
        left, top, width, height = (math.inf,) * 4
    crowd = entry.get("iscrowd") or 0
    if crowd not in (0, 1):
        raise ValueError(f"object {_short(number)}: its iscrowd is {_short(crowd)}, wanted 0 or 1")
    area: Any = entry.get("area")
    area_px = float(area) if type(area) in _NUMBERS and 0 <= area <= MAX_SIDE_PX**2 else None
    box_px, keypoints = (left, top, width, height), parse_keypoints(entry, f"object {_short(number)}")
    one = CocoObject(number, category, box_px, bool(crowd), entry.get("segmentation"), index, area_px, keypoints)
    return one, image_id


def _fault(one: CocoObject, image: CocoImage | None, image_id: Id) -> str:
    """Return why an object cannot be right; empty where nothing speaks against it."""
    if image is None:
        return f"its image, {_short(image_id)}, is not in the file"
    left, top, width, height = one.bbox
    # Also where a sum or a product overflows; what is not finite stays so in a sum.
    if not math.isfinite(left + width + top + height + width * height):
        return f"its bbox is {list(one.bbox)}"
    if width <= 0 or height <= 0:
        return f"its bbox is {width:g} wide and {height:g} high"
    image_width, image_height = image.size_wh
    if left >= (image_width or math.inf) or top >= (image_height or math.inf) or left + width <= 0 or top + height <= 0:
        size = " x ".join("?" if side is None else str(side) for side in image.size_wh)
        return f"its bbox, {list(one.bbox)}, is outside of its image of {size} pixels"
    return ""


def _reach_px(one: CocoObject, image: CocoImage) -> float:
    left, top, width, height = one.bbox
    image_width, image_height = image.size_wh
    right, bottom = left + width - (image_width or math.inf), top + height - (image_height or math.inf)
    return max(-left, -top, right, bottom)


def _entries(content: Mapping[str, Any], key: str) -> list[dict[str, Any]]:
    entries = _get(content, key, "the file")
    if not isinstance(entries, list):
        raise ValueError(f"its {key} are a {_kind(entries)}, wanted a list")
    for index, entry in enumerate(entries):
        if not isinstance(entry, dict):
            raise _EntryError(key, index, f"one of its {key} is {_short(entry)}, wanted an object")
    return entries


def _get(entry: Mapping[str, Any], key: str, kind: str, number: Id | None = None) -> Any:
    if key not in entry:
        raise ValueError(f"{_where(kind, number)}: '{key}' missing")
    return entry[key]


def _id(entry: Mapping[str, Any], key: str, kind: str, number: Id | None = None) -> Id:
    value = _get(entry, key, kind, number)
    if type(value) in (int, str) or (type(value) is float and math.isfinite(value) and value == int(value)):
        return value  # type: ignore[no-any-return]
    raise ValueError(f"{_where(kind, number)}: its {key} is {_short(value)}, wanted a whole number or text")


def _where(kind: str, number: Id | None) -> str:
    return kind if number is None else f"{kind} {_short(number)}"


def _sorted(ids: Mapping[Id, Any], key: str) -> list[Id]:
    if len({isinstance(number, str) for number in ids}) > 1:
        raise ValueError(f"some ids of its {key} are numbers and some text")
    return sorted(ids)


def _kind(value: Any) -> str:
    names = {dict: "object", list: "list", str: "text", bool: "truth value", type(None): "null"}
    return names.get(type(value), "number")


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."

"""nanoseg/service/mqtt/topics.py: names of any letters become topics that a broker takes, no two the same."""

from __future__ import annotations

import hashlib
import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nanoseg.service.mqtt.topics import Layout, Topics, slugs
from nanoseg.utils.names import encode_json

SLUG = re.compile(r"(?!.*__)[A-Za-z0-9-][A-Za-z0-9_-]*(?<!_)")
NAMES = st.lists(st.one_of(st.text(max_size=70), st.text("aä_ +/#-", max_size=4)), max_size=8)


def digest(name):
    return hashlib.sha256(name.encode()).hexdigest()[:8]


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (["belt", "Belt", "belt-2"], ["belt", "Belt", "belt-2"]),
        (["Förderband 1", "in/out", "a+b#c", "x"], ["Forderband_1", "in_out", "a_b_c", "x"]),
        (["belt 1", "belt_1", "belt+1"], [f"belt_1_{digest('belt 1')}", "belt_1", f"belt_1_{digest('belt+1')}"]),
        (["传送带", "", "__"], [digest("传送带"), digest(""), digest("__")]),
        (["a" * 99, "status"], ["a" * 48, "status"]),
    ],
)
def test_slugs_of_names(names, expected):
    found = slugs(names)
    assert [found[name] for name in names] == expected


@settings(deadline=None)
@given(NAMES)
def test_slugs_are_valid_distinct_and_independent_of_order(names):
    found = slugs(names)
    assert found.keys() == set(names)
    assert len(set(found.values())) == len(found)
    assert all(SLUG.fullmatch(slug) for slug in found.values())
    assert slugs(reversed(names)) == found
    assert slugs(found.values()) == dict(zip(found.values(), found.values(), strict=True))


def test_topics_of_different_things_differ():
    """Also where names are those of other topics, or run together differently."""
    sources = ("status", "a_b", "a", "record")
    regions = tuple((source, region) for source in sources for region in ("record", "b", "b_c", "c", "status"))
    topics = Topics("nanoseg", Layout(sources, regions, ("event", "d", "c_d")))
    found = [topics.status, topics.held]
    for source in sources:
        found += [each(source) for each in (topics.source_status, topics.record, topics.event, topics.snapshot)]
        found += topics.counts[source].values()
    assert len(set(found)) == len(found)
    assert all(topic.startswith("nanoseg/") for topic in found)


def test_topics_of_a_layout_that_the_broker_holds():
    layout = Layout(("belt 1", "door"), (("belt 1", "out"), ("door", "mat")), ("bolt",), "parts")
    found = Topics("nanoseg", Layout(())).retained_of(encode_json(layout))
    assert found == {f"nanoseg/{each}" for each in ("belt_1/status", "belt_1/out/bolt", "door/status", "door/mat/bolt")}
    many = [str(number) for number in range(1000)]
    endless = {"sources": ["a"], "regions": [["a", name] for name in many], "classes": many}
    for other in (b"", b"no JSON", b"[]", b'{"sources": 7}', b'{"sources": ["\xff"]}', encode_json(endless)):
        assert Topics("nanoseg", layout).retained_of(other) == set()


def test_topics_of_services_on_one_broker_have_nodes_of_their_own():
    names = ("nanoseg", "site/line1", "site_line1", "site-line1", "site/line 1", "site/line_1", "site/línea1", "传送带")
    nodes = [Topics(name, Layout(())).node for name in names]
    assert nodes[:4] == ["nanoseg_nanoseg", "nanoseg_site__line1", "nanoseg_site_line1", "nanoseg_site-line1"]
    assert len(set(nodes)) == len(names)
    assert all(re.fullmatch("[A-Za-z0-9_-]+", node) for node in nodes)

import itertools

import pytest

from quiesce.errors import QuiesceError
from quiesce.providers.cleanup import below, prefix, removal_order


def graph(*edges):
    names = sorted({name for parent, child, _ in edges for name in (parent, child)})
    ids = {name: number for number, name in enumerate(names)}
    return {
        "nodes": [{"id": number, "name": name} for name, number in ids.items()],
        "edges": [
            {"parent": ids[parent], "child": ids[child], "name": kind}
            for parent, child, kind in edges
        ],
    }


GRAPH = graph(
    ("acc", "cbw", "file"),
    ("cbw", "top", "file"),
    ("cbw", "scr", "target"),
    ("scr", "below-scr", "file"),
    ("top", "base", "backing"),
    ("device", "cbw", "root"),
)


@pytest.mark.parametrize("names", list(itertools.permutations(["acc", "cbw", "scr", "below-scr"])))
def test_a_node_is_removed_before_what_it_uses(names):
    assert removal_order(names, GRAPH) == ["acc", "cbw", "scr", "below-scr"]


def test_the_node_below_a_filter_is_the_one_that_is_there_now():
    assert below("cbw", GRAPH) == "top"


def test_a_filter_that_lies_on_nothing_is_an_error():
    with pytest.raises(QuiesceError, match="lies on nothing"):
        below("acc", graph(("cbw", "scr", "target"), ("device", "acc", "root")))


def test_names_fit_into_a_node_name():
    longest = f"{prefix('01JD0000000000000000000000')}window"

    assert len(longest) <= 31

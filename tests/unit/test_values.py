"""Values mean what those of the standard `dataclasses` mean: every test asks both."""

from __future__ import annotations

import dataclasses
from types import SimpleNamespace
from typing import Any

import pytest

from quiesce import values

STANDARD = SimpleNamespace(
    dataclass=dataclasses.dataclass,
    field=dataclasses.field,
    replace=dataclasses.replace,
    asdict=dataclasses.asdict,
)


@pytest.fixture(params=[values, STANDARD], ids=["ours", "standard"])
def kit(request: pytest.FixtureRequest) -> Any:
    return request.param


def point_of(kit: Any) -> Any:
    @kit.dataclass(frozen=True)
    class Point:
        x: int
        y: int = 2
        names: list[str] = kit.field(default_factory=list)

        def swapped(self) -> Point:
            return kit.replace(self, x=self.y, y=self.x)

    return Point


def box_of(kit: Any) -> Any:
    @kit.dataclass(frozen=False)
    class Box:
        content: Any
        label: str | None = None

    return Box


def test_fields_come_by_position_and_by_name_and_have_defaults(kit: Any) -> None:
    made = point_of(kit)(1, names=["a"])

    assert (made.x, made.y, made.names) == (1, 2, ["a"])


def test_a_default_that_is_made_is_made_for_each(kit: Any) -> None:
    point = point_of(kit)

    point(1).names.append("a")

    assert point(1).names == []
    assert not hasattr(point, "names")


@pytest.mark.parametrize(
    ("args", "given"),
    [((), {}), ((1, 2, [], 4), {}), ((1,), {"z": 3}), ((1,), {"x": 1})],
    ids=["one too few", "one too many", "unknown", "twice"],
)
def test_wrong_fields_are_refused(kit: Any, args: tuple[Any, ...], given: dict[str, Any]) -> None:
    with pytest.raises(TypeError):
        point_of(kit)(*args, **given)


def test_what_is_frozen_cannot_be_changed_and_all_else_can(kit: Any) -> None:
    frozen, box = point_of(kit)(1), box_of(kit)(1)

    box.content = 2

    assert box.content == 2
    with pytest.raises(AttributeError):
        frozen.x = 2
    with pytest.raises(AttributeError):
        del frozen.x
    assert frozen.x == 1


def test_values_are_equal_where_class_and_fields_are(kit: Any) -> None:
    point, other = point_of(kit), point_of(kit)

    assert point(1) == point(1, 2)
    assert point(1) != point(2)
    assert point(1) != other(1)
    assert point(1) != (1, 2, [])


def test_only_what_is_frozen_can_be_hashed(kit: Any) -> None:
    point, box = point_of(kit), box_of(kit)

    assert len({point(1, names=()), point(1, names=()), point(2, names=())}) == 2
    with pytest.raises(TypeError, match="unhashable"):
        hash(point(1))
    with pytest.raises(TypeError, match="unhashable"):
        hash(box(1))


def test_a_value_shows_its_fields(kit: Any) -> None:
    assert repr(point_of(kit)(1)).endswith(".Point(x=1, y=2, names=[])")


def test_a_copy_has_the_changes_and_the_original_has_not(kit: Any) -> None:
    original = point_of(kit)(1, names=["a"])

    assert original.swapped() == type(original)(2, 1, ["a"])
    assert original.x == 1
    with pytest.raises(TypeError):
        kit.replace(original, z=1)


def test_values_within_become_plain_too(kit: Any) -> None:
    point, box = point_of(kit), box_of(kit)
    inner = {"x": 1, "y": 2, "names": []}

    plain = kit.asdict(box({"list": [point(1)], "tuple": (point(1), None)}, "a"))

    assert plain == {"content": {"list": [inner], "tuple": (inner, None)}, "label": "a"}


def test_what_is_plain_shares_no_list_with_the_value(kit: Any) -> None:
    made = point_of(kit)(1)

    kit.asdict(made)["names"].append("a")

    assert made.names == []


def test_a_class_tells_its_fields_with_their_annotations() -> None:
    assert values.fields(point_of(values)) == {"x": "int", "y": "int", "names": "list[str]"}

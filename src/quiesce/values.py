"""Values: classes that are nothing but named fields, made in no time when a program starts.

What is used here of the standard `dataclasses`, with the same names and the same meaning. That
module compiles source text for every class and loads `inspect` to do it: more than half of what
starting `quiesce-guest` cost. Here the methods are shared by all classes; making a value costs a
few microseconds more, which nobody notices who makes few of them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from typing_extensions import dataclass_transform
else:

    def dataclass_transform(**_meaning: object) -> Callable[[_T], _T]:
        """Say what it says to a type checker: nothing to do at run time."""
        return lambda function: function


_T = TypeVar("_T")


class _Made:
    """Marks a field whose value is made anew for each object."""

    def __init__(self, factory: Callable[[], Any]) -> None:
        self.factory = factory


def field(*, default_factory: Callable[[], Any]) -> Any:
    """Return the default of a field that *default_factory* makes for each object."""
    return _Made(default_factory)


@dataclass_transform(field_specifiers=(field,))
def dataclass(*, frozen: bool) -> Callable[[type[_T]], type[_T]]:
    """Let the annotations of a class be its fields; with *frozen* they never change.

    Objects are made from values by position or name, are equal where class and fields are, and
    show their fields; frozen ones can be hashed, the others cannot. Annotations are texts, and
    those of base classes do not count.
    """

    def make(kind: type[_T]) -> type[_T]:
        names = vars(kind).get("__annotations__", {})
        known = vars(kind)
        made = {name: known[name] for name in names if isinstance(known.get(name), _Made)}
        members: dict[str, Any] = {
            "__value_fields__": dict(names),
            "__value_defaults__": {name: known[name] for name in names if name in known},
            "__init__": _init,
            "__eq__": _eq,
            "__repr__": _repr,
            "__hash__": _hash if frozen else None,
        }
        if frozen:
            members.update(__setattr__=_refuse, __delattr__=_refuse)
        for name in made:
            delattr(kind, name)
        for name, member in members.items():
            if name not in known:
                setattr(kind, name, member)
        return kind

    return make


def fields(kind: type) -> Mapping[str, str]:
    """Return the fields of a class of values, in order, with their annotations."""
    return kind.__value_fields__  # type: ignore[attr-defined,no-any-return]  # see `dataclass`


def replace(value: _T, **changes: Any) -> _T:
    """Return a copy of *value* with *changes*."""
    return type(value)(**{**_contents(value), **changes})


def asdict(value: Any) -> dict[str, Any]:
    """Return the fields of *value*, those of values in it, in lists, tuples and mappings too."""
    return {name: _plain(content) for name, content in _contents(value).items()}


def _plain(content: Any) -> Any:
    if hasattr(content, "__value_fields__"):
        return asdict(content)
    if isinstance(content, (list, tuple)):
        return type(content)([_plain(each) for each in content])
    if isinstance(content, dict):
        return {key: _plain(each) for key, each in content.items()}
    return content


def _contents(value: Any) -> dict[str, Any]:
    return {name: getattr(value, name) for name in value.__value_fields__}


def _init(self: Any, *args: Any, **given: Any) -> None:
    names, defaults = self.__value_fields__, self.__value_defaults__
    contents = dict(zip(names, args))  # noqa: B905 - strict= came after Python 3.9
    wrong = [name for name in given if name in contents or name not in names]
    if wrong or len(args) > len(names):
        raise TypeError(f"{type(self).__name__} cannot take {', '.join(wrong) or args}")
    contents.update(given)
    for name in names:
        if name not in contents:
            if name not in defaults:
                raise TypeError(f"{type(self).__name__} needs {name}")
            default = defaults[name]
            contents[name] = default.factory() if isinstance(default, _Made) else default
    self.__dict__.update(contents)


def _eq(self: Any, other: object) -> Any:
    if type(other) is not type(self):
        return NotImplemented
    return _contents(self) == _contents(other)


def _hash(self: Any) -> int:
    return hash(tuple(_contents(self).values()))


def _repr(self: Any) -> str:
    shown = ", ".join(f"{name}={content!r}" for name, content in _contents(self).items())
    return f"{type(self).__qualname__}({shown})"


def _refuse(self: Any, name: str, *_value: Any) -> None:
    raise AttributeError(f"cannot change {name} of a {type(self).__name__}")

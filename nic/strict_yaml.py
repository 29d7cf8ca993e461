"""YAML for people: every word stays as it is written, and each fault becomes one sentence."""

import copy
import difflib
from collections.abc import Collection, Hashable, Iterable, Mapping
from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from nic.errors import StudyError, TableError
from nic.tables.text import decoded

PLAIN = ("tag:yaml.org,2002:null", "tag:yaml.org,2002:merge")
"""Types that a word without quotes may have. All else is text: yes, no, 1, 007, 1e3 and 2020-01-01 may be names."""
NAMES = {
    r"^[a-z0-9][a-z0-9-]*$": "small letters, digits and hyphens",
    r"^\w[\w -]*$": "letters, digits, underscores, hyphens and blanks",
}
"""Patterns of names, and what they mean."""
UNKNOWN_KEY = "extra_forbidden"
"""pydantic's type of this fault."""
Place = tuple[int | str, ...]
"""Of a key in a file, as pydantic states it."""
M = TypeVar("M", bound=BaseModel)
BOUNDS = {"gt": "above", "ge": "at least", "lt": "below", "le": "at most"}


class _AsWritten(yaml.SafeLoader):
    """Reads every word as text, and refuses a key that stands twice."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        keys: set[str] = set()
        for key, _ in node.value:
            if key.value in keys and isinstance(key, yaml.ScalarNode):
                raise yaml.constructor.ConstructorError(None, None, f"{key.value!r} stands twice", key.start_mark)
            keys.add(key.value if isinstance(key, yaml.ScalarNode) else "")
        return super().construct_mapping(node, deep)


_AsWritten.yaml_implicit_resolvers = {
    letter: [(tag, pattern) for tag, pattern in resolvers if tag in PLAIN]
    for letter, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}


def read_yaml(path: Path) -> dict[str, Any]:
    """A YAML mapping; every word but null is text. Raises StudyError, which names the file."""
    try:
        content = yaml.load(decoded(path.read_bytes(), path.name), _AsWritten)
    except FileNotFoundError as error:
        raise StudyError(f"{path}: no such study file") from error
    except OSError as error:
        raise StudyError(f"{path}: the study file cannot be read: {error.strerror}") from error
    except TableError as error:
        raise StudyError(str(error)) from error
    except yaml.YAMLError as error:
        raise StudyError(f"{path.name}: not YAML: {' '.join(str(error).split())}") from error
    if not isinstance(content, dict):
        raise StudyError(f"{path.name}: empty, or not a mapping; copy studies/phantom.yaml and edit it")
    return content


def valid_part(model: type[M], defaults: Mapping[str, Any], content: Mapping[str, Any]) -> tuple[M, list[ErrorDetails]]:
    """The content without its faulty entries, and all its faults. defaults: for required keys that are left out.

    Unknown keys are left out alone, other faults with the entry of the list or mapping that they are in.
    """
    faults: list[ErrorDetails] = []
    while unknown := [fault for fault in _faults(model, content) if fault["type"] == UNKNOWN_KEY]:
        faults += unknown
        content = _without_keys(content, [fault["loc"] for fault in unknown])
    faults += (others := _faults(model, content))
    rest = _without_entries(content, [fault["loc"] for fault in others])
    return model.model_validate({**defaults, **rest}), faults


def _faults(model: type[BaseModel], content: Mapping[str, Any]) -> list[ErrorDetails]:
    try:
        model.model_validate(content)
    except ValidationError as error:
        return error.errors()
    return []


def _without_keys(content: Mapping[str, Any], places: Iterable[Place]) -> dict[str, Any]:
    rest = copy.deepcopy(dict(content))
    for place in places:
        parent: Any = rest
        for part in place[:-1]:
            if isinstance(parent, list):
                parent = parent[int(part)]
            elif part in parent:  # else it is the layout of a tile task
                parent = parent[part]
        del parent[place[-1]]
    return rest


def _without_entries(content: Mapping[str, Any], places: Iterable[Place]) -> dict[str, Any]:
    faulty = {place[:2] if isinstance(content.get(str(place[0])), list | dict) else place[:1] for place in places}
    rest = dict(content)
    for key in {str(place[0]) for place in faulty}:
        match rest.get(key) if (key,) not in faulty else None:
            case list(items):
                rest[key] = [item for number, item in enumerate(items) if (key, number) not in faulty]
            case dict(items):
                rest[key] = {name: item for name, item in items.items() if (key, name) not in faulty}
        if (key,) in faulty or not rest[key]:
            rest.pop(key, None)
    return rest


def fault_sentence(error: ErrorDetails, keys: Collection[str]) -> str:
    """One fault, with its place in the file. keys: those that are allowed at this place."""
    return f"{'.'.join(map(str, error['loc'])) or 'study'}: {_fault(error, keys)}"


def _fault(error: ErrorDetails, keys: Collection[str]) -> str:
    kind, context = error["type"], error.get("ctx", {})
    match kind:
        case "missing":
            return "missing"
        case "extra_forbidden":
            alike = difflib.get_close_matches(str(error["loc"][-1]), keys, n=1, cutoff=0.6)
            return "no such key" + (f"; did you mean {alike[0]!r}?" if alike else "")
        case "value_error":
            return str(context["error"])
        case "union_tag_invalid":
            return f"found {context['tag']!r}, wanted one of {context['expected_tags']}"
        case "too_short":
            return "empty, wanted at least one"
        case _:
            return f"found {_shown(error['input'])}, wanted {_expected(kind, context, error['msg'])}"


def _shown(value: Any) -> str:
    match value:
        case None:
            return "nothing (null; a word that means it stands in quotes)"
        case dict():
            return "keys with values"
        case list() | tuple():
            return "a list"
        case _:
            return repr(value)


def _expected(kind: str, context: dict[str, Any], message: str) -> str:
    if bounds := [f"{words} {context[key]:g}" for key, words in BOUNDS.items() if key in context]:
        return " and ".join(bounds)
    if "expected" in context:
        return str(context["expected"])
    if "pattern" in context and "error" not in context:
        return NAMES.get(context["pattern"], f"text like {context['pattern']}")
    for part, words in (
        ("float", "a number"),
        ("int", "a whole number"),
        ("bool", "true or false"),
        ("path", "a path"),
        ("string", "text"),
        ("tuple", "a list"),
        ("dict", "keys with values"),
        ("model", "keys with values"),
    ):
        if kind.startswith(part):
            return words
    return f"another: {message}"

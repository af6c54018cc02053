"""The digest of arguments: the same for equal arguments, in any process."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from hashlib import blake2b
from typing import Any, cast

from pydantic_core import CoreSchema, from_json, to_json

_SIZE = 8
_SETS = frozenset({"set", "frozenset"})
_SCALARS = frozenset(
    {
        "none",
        "bool",
        "int",
        "float",
        "decimal",
        "str",
        "bytes",
        "date",
        "time",
        "datetime",
        "timedelta",
        "literal",
        "enum",
        "uuid",
    }
)


def digest_of(text: str) -> bytes:
    """The digest of JSON text that is canonical: no spaces, keys in order."""
    return blake2b(text.encode(), digest_size=_SIZE).digest()


def canonical(text: str, unordered: frozenset[str] = frozenset()) -> str:
    """``text`` with all keys in order, and without spaces.

    The arguments that ``unordered`` names hold sets somewhere. JSON does not tell a set from a list, so the order of
    all arrays within them is left out of account.
    """
    value: object = from_json(text)
    if unordered and isinstance(value, dict):
        fields = cast("dict[str, object]", value)
        return to_json({name: _ordered(fields[name], sort=name in unordered) for name in sorted(fields)}).decode()
    return to_json(_ordered(value, sort=False)).decode()


def _ordered(value: object, *, sort: bool) -> object:
    if isinstance(value, dict):
        fields = cast("dict[str, object]", value)
        return {name: _ordered(fields[name], sort=sort) for name in sorted(fields)}
    if isinstance(value, list):
        items = [_ordered(item, sort=sort) for item in cast("list[object]", value)]
        return sorted(items, key=to_json) if sort else items
    return value


class Order:
    """What a schema says about the order within the text that is written with it."""

    def __init__(self, schema: CoreSchema) -> None:
        outer = cast("dict[str, Any]", schema)
        self._definitions: dict[str, dict[str, Any]] = {}
        while outer["type"] == "definitions":
            self._definitions |= {definition["ref"]: definition for definition in outer["definitions"]}
            outer = outer["schema"]
        fields: Mapping[str, Mapping[str, Any]] = outer["fields"]
        self.unordered = frozenset(
            name
            for name, field in fields.items()
            if any(node["type"] in _SETS for node in self._nodes(field["schema"]))
        )
        """The fields that hold a set somewhere."""
        self.canonical = all(self._is_canonical(field["schema"], frozenset()) for field in fields.values())
        """Whether the text of each field is canonical as it is written, whatever its value."""

    def _nodes(self, schema: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
        """The schema and all that is in it, each definition once."""
        seen: set[str] = set()
        waiting: list[object] = [schema]
        while waiting:
            node = waiting.pop()
            if isinstance(node, dict):
                fields = cast("dict[str, Any]", node)
                waiting.extend(fields.values())
                if not isinstance(fields.get("type"), str):
                    continue
                yield fields
                ref = fields.get("schema_ref")
                if isinstance(ref, str) and ref not in seen and ref in self._definitions:
                    seen.add(ref)
                    waiting.append(self._definitions[ref])
            elif isinstance(node, list | tuple):
                waiting.extend(cast("list[object]", node))

    def _is_canonical(self, schema: Mapping[str, Any], above: frozenset[str]) -> bool:
        """Errs on the side of no: what is not known here is put in order each time."""
        kind: str = schema["type"]
        if "serialization" in schema:
            return False
        if kind in _SCALARS:
            return True
        inner: list[Mapping[str, Any]]
        match kind:
            case "definition-ref":
                ref: str = schema["schema_ref"]
                if ref in above:
                    return True
                return ref in self._definitions and self._is_canonical(self._definitions[ref], above | {ref})
            case "nullable" | "default" | "function-after" | "function-before" | "dataclass" | "model":
                inner = [schema["schema"]]
            case "list":
                inner = [schema["items_schema"]] if "items_schema" in schema else [{"type": "any"}]
            case "tuple":
                inner = schema["items_schema"]
            case "union":
                inner = [choice[0] if isinstance(choice, tuple) else choice for choice in schema["choices"]]
            case "dataclass-args":
                named = {str(field["name"]): field for field in schema["fields"]}
                return self._are_canonical(schema, named, above)
            case "model-fields":
                return self._are_canonical(schema, schema["fields"], above)
            case _:
                return False
        return all(self._is_canonical(item, above) for item in inner)

    def _are_canonical(
        self, schema: Mapping[str, Any], fields: Mapping[str, Mapping[str, Any]], above: frozenset[str]
    ) -> bool:
        names = [str(field.get("serialization_alias", name)) for name, field in fields.items()]
        return (
            names == sorted(names)
            and not schema.get("computed_fields")
            and schema.get("extra_behavior") != "allow"
            and all(self._is_canonical(field["schema"], above) for field in fields.values())
        )

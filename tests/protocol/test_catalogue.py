import json
import re
from collections.abc import Iterator
from typing import Any

import msgspec
import pytest

from core.protocol.canonical import canonical
from core.protocol.catalogue import BY_NAME, ENTRIES, schemas
from core.protocol.message import REGISTRY, Message, typ
from tests.world.messages import samples

SAMPLES = samples()
SCHEMAS = schemas()
_KEYWORDS = {
    "$schema", "$ref", "$defs", "title", "description", "type", "properties", "required",
    "additionalProperties", "items", "prefixItems", "minItems", "maxItems", "pattern", "minLength",
    "maxLength", "minimum", "maximum", "enum", "const", "anyOf", "default",
}  # fmt: skip
_TYPES = {"object", "array", "string", "integer", "boolean", "null"}


def test_every_message_has_one_entry_and_one_sample() -> None:
    kinds = [entry.kind for entry in ENTRIES]

    assert len(set(kinds)) == len(kinds) == len(BY_NAME)
    assert set(kinds) == set(REGISTRY.values())
    assert set(SAMPLES) == set(BY_NAME) == set(SCHEMAS)
    assert {name: type(message) for name, message in SAMPLES.items()} == {
        name: entry.kind for name, entry in BY_NAME.items()
    }


@pytest.mark.parametrize("entry", ENTRIES, ids=lambda entry: entry.kind.name)
def test_every_entry_says_who_and_what_for(entry: Any) -> None:
    kind: type[Message] = entry.kind

    assert re.fullmatch(r"[a-z_]+(\.[a-z_]+)*/[1-9][0-9]*", kind.name)
    assert re.fullmatch(r"surety\.[a-z_.]+\.v[0-9]+\+jwt", typ(kind))
    assert entry.sender
    assert entry.receiver
    assert entry.proves
    assert not entry.proves.endswith(".")
    assert 60 <= kind.lifetime <= 10 * 366 * 86_400
    assert kind.__doc__
    assert not kind.self_signed or "key" in kind.__struct_fields__


@pytest.mark.parametrize("name", SAMPLES)
def test_a_message_comes_back_from_its_bytes(name: str) -> None:
    message = SAMPLES[name]
    written = canonical(message)
    read = msgspec.json.decode(written, type=type(message))

    assert read == message
    assert canonical(read) == written
    with pytest.raises(AttributeError):
        setattr(read, message.__struct_fields__[0], None)


def test_two_messages_of_one_name_are_refused() -> None:
    with pytest.raises(RuntimeError, match=r"two messages are named offer/1"):
        type("Second", (Message,), {"name": "offer/1", "__annotations__": {}}, frozen=True)
    assert REGISTRY[typ(BY_NAME["offer/1"].kind)] is BY_NAME["offer/1"].kind


def _schemas_in(schema: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield schema
    for inner in (*schema.get("properties", {}).values(), *schema.get("$defs", {}).values()):
        yield from _schemas_in(inner)
    for inner in (*schema.get("anyOf", []), *schema.get("prefixItems", [])):
        yield from _schemas_in(inner)
    for name in ("items", "additionalProperties"):
        if isinstance(schema.get(name), dict):
            yield from _schemas_in(schema[name])


@pytest.mark.parametrize("name", SCHEMAS)
def test_schemas_are_json_schema_2020_12(name: str) -> None:
    whole = SCHEMAS[name]

    assert whole["$schema"] == "https://json-schema.org/draft/2020-12/schema"
    assert json.loads(json.dumps(whole)) == whole
    for schema in _schemas_in(whole):
        assert set(schema) <= _KEYWORDS, schema
        assert schema.get("type") in {None, *_TYPES}
        if "pattern" in schema:
            re.compile(schema["pattern"])
        if "$ref" in schema:
            assert schema["$ref"].removeprefix("#/$defs/") in whole["$defs"]
        if schema.get("type") == "object":
            assert schema["additionalProperties"] is False
            assert set(schema["required"]) == set(schema["properties"])


@pytest.mark.parametrize("name", SCHEMAS)
def test_every_text_has_a_length_or_an_alphabet_and_every_number_an_end(name: str) -> None:
    for schema in _schemas_in(SCHEMAS[name]):
        if schema.get("type") == "string":
            assert schema.keys() & {"pattern", "enum", "const"}, schema
        if schema.get("type") == "integer":
            assert schema.keys() >= {"minimum", "maximum"}, schema
        if schema.get("type") == "array":
            assert "maxItems" in schema, schema


def _kind(value: object) -> str:
    kinds = {str: "string", bool: "boolean", int: "integer", list: "array", dict: "object"}
    return next((name for kind, name in kinds.items() if type(value) is kind), "null")


def _fits(schema: dict[str, Any], value: Any, defs: dict[str, Any]) -> bool:  # noqa: PLR0911
    if "$ref" in schema:
        return _fits(defs[schema["$ref"].removeprefix("#/$defs/")], value, defs)
    if "anyOf" in schema:
        return any(_fits(each, value, defs) for each in schema["anyOf"])
    if "enum" in schema:
        return value in schema["enum"]
    kind = _kind(value)
    if schema["type"] != kind:
        return False
    if kind == "object":
        return set(value) == set(schema["properties"]) and all(
            _fits(schema["properties"][name], value[name], defs) for name in schema["properties"]
        )
    if kind == "array":
        return all(_fits(schema["items"], inner, defs) for inner in value)
    pattern: str = schema.get("pattern", "")
    return kind != "string" or re.search(pattern, str(value)) is not None


@pytest.mark.parametrize("name", SCHEMAS)
def test_what_we_write_fits_the_schema_that_we_publish(name: str) -> None:
    written = json.loads(canonical(SAMPLES[name]))

    assert _fits(SCHEMAS[name], written, SCHEMAS[name].get("$defs", {}))

"""/api/v1/status: its form, its pages, its filters."""

import json
from itertools import product
from pathlib import Path
from typing import Any

import jsonschema
import msgspec
import pytest

from exporter.app.status import Selection
from exporter.errors import AuthenticationError
from exporter.text import Text
from tests.support.face import guarded
from tests.support.installations import Installation, StagedFace, empty, half_broken, healthy, huge

SCHEMA = Path(__file__).parents[2] / "docs" / "status.schema.json"


def closed(schema: Any) -> Any:
    """Return the schema without additional properties: every property must be documented."""
    if isinstance(schema, list):
        return [closed(part) for part in schema]
    if not isinstance(schema, dict):
        return schema
    made = {key: closed(value) for key, value in schema.items()}
    return made | {"additionalProperties": False} if "properties" in schema else made


@pytest.mark.parametrize("make", [empty, healthy, half_broken])
def test_the_answer_is_as_the_schema_says(make: Any) -> None:
    schema = closed(json.loads(SCHEMA.read_text()))
    jsonschema.Draft202012Validator.check_schema(schema)
    jsonschema.validate(make().status(), schema)


def test_every_property_is_required_and_met() -> None:
    """Every documented property is in an answer."""

    def names(schema: Any, found: set[str]) -> set[str]:
        if isinstance(schema, dict):
            found |= set(schema.get("properties", {}))
            assert set(schema.get("required", ())) == set(schema.get("properties", {}))
            for part in schema.values():
                names(part, found)
        elif isinstance(schema, list):
            for part in schema:
                names(part, found)
        return found

    def keys(value: Any, found: set[str]) -> set[str]:
        if isinstance(value, dict):
            found.update(value)
            # Labels of a metric are data here, not properties.
            value = {key: part for key, part in value.items() if key != "labels"}
        for part in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
            keys(part, found)
        return found

    assert names(json.loads(SCHEMA.read_text()), set()) == keys(half_broken().status(), set())


def test_names_of_files_that_are_not_utf8_do_not_prevent_it() -> None:
    name = "caf\udce9.yml"
    made = Installation(warnings=[name], reload_error=name, config_file=name)
    made.add("kunshan", "schedulers", "", "failing", AuthenticationError(Text(name, name)))
    assert msgspec.json.encode(made.status()).count(rb"caf\\udce9.yml") == 7


async def pages(served: Any, query: str) -> list[dict[str, Any]]:
    found, offset = [], 0
    while True:
        status, _, body = await served.ask(f"/api/v1/status?offset={offset}&{query}")
        assert status == 200
        found.append(json.loads(body))
        following = found[-1]["page"]["next_offset"]
        if following is None:
            return found
        assert following > offset
        offset = following


async def test_the_pages_together_are_everything_once_and_in_order() -> None:
    installation = huge(2345)
    async with guarded(face=StagedFace(installation)) as served:
        found = await pages(served, "limit=1000")
    assert [len(page["targets"]) for page in found] == [1000, 1000, 345]
    names = [(t["source"], t["collector"], t["target"]) for page in found for t in page["targets"]]
    assert names == [tuple(status.key) for status in installation.statuses]
    assert all(page["summary"]["total"] == 2345 for page in found)


async def test_without_a_limit_there_are_a_thousand() -> None:
    async with guarded(face=StagedFace(huge(1500))) as served:
        (first, second) = await pages(served, "")
    assert (len(first["targets"]), len(second["targets"])) == (1000, 500)


@pytest.mark.parametrize(
    ("query", "matching"),
    [
        ("filter=ALICE", 6),
        ("filter=alice+physics", 3),
        ("filter=10009", 9),
        ("filter=nobody", 0),
        ("filter=%E7%8E%8B", 6),
        ("state=stale", 9),
        ("state=stale,failing", 17),
        ("state=pending", 1),
        ("source=driving", 1),
        ("source=driv", 0),
        ("collector=schedulers", 4),
        ("source=xian&collector=member_jobs&state=stale&filter=bob", 1),
        ("", 29),
    ],
)
async def test_targets_are_selected_by_parameters(query: str, matching: int) -> None:
    async with guarded(face=StagedFace(half_broken())) as served:
        _, _, body = await served.ask(f"/api/v1/status?{query}")
    status = json.loads(body)
    assert status["page"]["matching"] == len(status["targets"]) == matching
    assert status["page"]["total"] == status["summary"]["total"] == 29
    assert len(status["sources"]) == 5


@pytest.mark.parametrize(
    ("query", "error"),
    [
        ("limit=0", "limit: must be a whole number from 1 to 10000"),
        ("limit=10001", "limit: must be"),
        ("limit=ten", "limit: must be"),
        ("limit=%D9%A3", "limit: must be"),
        ("offset=-1", "offset: must be a whole number from 0 to"),
        ("offset=" + "9" * 5000, "offset: must be"),
        ("state=happy", "state: 'happy' is none of stale, failing, pending, up"),
    ],
)
async def test_a_wrong_parameter_is_named(query: str, error: str) -> None:
    async with guarded(face=StagedFace(healthy())) as served:
        status, headers, body = await served.ask(f"/api/v1/status?{query}")
    assert status == 400
    assert headers["Content-Type"] == "application/json"
    assert json.loads(body)["error"].startswith(error)


async def test_an_offset_beyond_the_end_is_an_empty_last_page() -> None:
    async with guarded(face=StagedFace(healthy())) as served:
        (page,) = await pages(served, "offset=99")
    assert page["targets"]
    status = healthy().status(Selection(offset=99))
    assert (status["targets"], status["page"]["next_offset"]) == ([], None)


def test_sums_are_of_all_and_an_unknown_part_makes_them_unknown() -> None:
    made = Installation()
    made.add_tasks("driving", "A", 5)
    made.add_tasks("driving", "B", 7)
    assert made.status()["sources"][0]["tasks"] == {"length": 12}
    made.add_tasks("driving", "C", None)
    assert made.status()["sources"][0]["tasks"] == {"length": None}


def test_the_state_of_a_source_is_the_most_urgent_one() -> None:
    for first, second in product(("stale", "failing", "pending", "up"), repeat=2):
        made = Installation()
        made.add_user("kunshan", "alice", first)
        made.add_user("kunshan", "bob", second)
        order = ("stale", "failing", "pending", "up")
        assert made.status()["sources"][0]["state"] == min(first, second, key=order.index)


def test_of_thousands_of_tokens_the_first_to_expire_are_listed() -> None:
    made = healthy()
    made.token_ends["xian"] = {f"user{number}": made.now + number for number in range(3000, 0, -1)}
    (xian,) = [source for source in made.status()["sources"] if source["name"] == "xian"]
    assert [token["user"] for token in xian["tokens"]] == [f"user{number}" for number in range(1, 21)]

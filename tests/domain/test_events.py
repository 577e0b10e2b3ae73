"""Read events: every known shape of Azure ML and Event Grid, and no other."""

import json
import string
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from model_release.domain.events import ModelRegistered, Workspace, parse, read_json
from model_release.errors import EventError
from tests.environment import WORKSPACE, event, sample_event
from tests.in_memory import incompressible

SHAPES = {
    "event-grid-pascal.json": ("sklearn_regression_model", "20", {"area": "diabetes", "type": "regression"}),
    "event-grid-camel.json": ("fraud_model", "3", {"stage": "production"}),
    "cloud-event.json": ("sklearn_regression_model", "21", {"area": "diabetes"}),
    "null-tags.json": ("churn", "1", {}),
    "version-only-in-subject.json": ("churn", "2", {}),
    "dead-letter.json": ("fraud_model", "4", {}),
}

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=10,
)


@pytest.mark.parametrize(("name", "expected"), SHAPES.items(), ids=SHAPES)
def test_every_known_shape_is_read(name: str, expected: tuple[str, str, dict[str, str]]) -> None:
    read = parse(json.dumps(sample_event(name)))

    assert (read.model, read.version, read.tags) == expected
    assert read.workspace == Workspace.parse(WORKSPACE.upper())
    assert read.workspace.name == "prod"


def test_the_body_is_kept_unchanged() -> None:
    assert parse(event()).body == event()


@pytest.mark.parametrize(
    ("version", "number"), [("007", 7), (12, 12), ("1.2", None), ("a", None), ("9" * 200, 10**200 - 1)]
)
def test_only_whole_numbers_have_an_order(version: str | int, number: int | None) -> None:
    assert parse(event(version=version)).number == number


def test_tag_values_of_other_types_become_text() -> None:
    read = parse(event(ModelTags={"a": None, "b": 1, "c": True, "d": [1]}))

    assert read.tags == {"a": "", "b": "1", "c": "true", "d": "[1]"}


def test_every_problem_of_an_event_is_reported_at_once() -> None:
    body = sample_event("event-grid-pascal.json")
    body |= {
        "topic": "elsewhere",
        "subject": "nothing",
        "data": {"ModelVersion": 1.5, "ModelTags": [], "modelProperties": 1},
    }

    with pytest.raises(EventError) as caught:
        parse(json.dumps(body))

    message = str(caught.value)
    for problem in (
        "'elsewhere' is not the resource ID of an Azure ML workspace",
        "the model name is missing",
        "the model version is '1.5'; expected",
        "the tags are not a JSON object",
        "the properties are not a JSON object",
    ):
        assert problem in message
    assert (caught.value.subject, caught.value.event_id) == ("nothing", body["id"])


TIMES = ["", 1_700_000_000, "11/20/2026", "11/20/2026 18:41:00", "2026-11-20", "yesterday", None, {}, []]


@pytest.mark.parametrize(("name", "key"), [("event-grid-pascal.json", "eventTime"), ("cloud-event.json", "time")])
@pytest.mark.parametrize("time", TIMES, ids=repr)
def test_any_time_is_read_because_nobody_uses_it(name: str, key: str, time: Any) -> None:
    body = sample_event(name)

    read = parse(json.dumps(body | {key: time}))

    assert read._replace(body="") == parse(json.dumps(body))._replace(body="")


@pytest.mark.parametrize(("name", "key"), [("event-grid-pascal.json", "eventTime"), ("cloud-event.json", "time")])
def test_an_event_without_a_time_is_read(name: str, key: str) -> None:
    body = sample_event(name)
    expected = parse(json.dumps(body))._replace(body="")
    del body[key]

    assert parse(json.dumps(body))._replace(body="") == expected


@pytest.mark.parametrize("name", ["dataschema", "datacontenttype", "Extension", "an.other"])
def test_any_attribute_that_nobody_uses_is_read(name: str) -> None:
    body = sample_event("cloud-event.json")

    for value in (None, "", 1, [], {"a": 1}):
        assert parse(json.dumps(body | {name: value})).version == "21"


@pytest.mark.parametrize(
    "data",
    [
        {"ModelName": "churn", "modelName": "churn", "modelTags": {"a": "b"}},
        {"ModelName": None, "modelName": "churn", "modelTags": {"a": "b"}},
        {"ModelName": "churn", "ModelVersion": 20, "modelVersion": "20", "modelTags": {"a": "b"}},
        {"ModelName": "churn", "ModelTags": {"a": "b"}, "modelTags": {"a": "b"}, "etag": 1, "Etag": 2},
    ],
)
def test_a_key_in_two_casings_is_read_if_the_values_are_equal(data: dict[str, Any]) -> None:
    body = sample_event("event-grid-pascal.json") | {"subject": "models/churn:20", "data": data}

    read = parse(json.dumps(body))

    assert (read.model, read.version, read.tags) == ("churn", "20", {"a": "b"})


@pytest.mark.parametrize(
    ("keys", "values"),
    [
        (("ModelName", "modelName"), ("a", "b")),
        (("ModelVersion", "modelversion"), (20, "21")),
        (("ModelTags", "modelTags"), ({"a": "b"}, {})),
        (("modelProperties", "ModelProperties"), ({"a": "b"}, {"a": "c"})),
    ],
)
def test_a_key_in_two_casings_with_different_values_is_refused(keys: tuple[str, str], values: tuple[Any, Any]) -> None:
    body = sample_event("event-grid-pascal.json") | {"subject": "models/churn:20"}
    body["data"] = dict(zip(keys, values, strict=True))

    with pytest.raises(EventError, match=f"^data has different values for {keys[0]} and {keys[1]}$") as caught:
        parse(json.dumps(body))

    assert caught.value.subject == "models/churn:20"


BROKEN: dict[str, dict[str, Any]] = {
    "tags": {"data": {"ModelName": "churn", "ModelVersion": 20, "ModelTags": 1}},
    "workspace": {"topic": 1, "data": {"modelName": "churn", "modelVersion": "20"}},
    "Unicode": {"data": {"ModelName": "churn", "ModelVersion": 20, "ModelTags": {"a": "\ud800"}}},
    "event type": {"eventType": None, "data": {"ModelName": "churn", "ModelVersion": 20}},
    "data": {"data": "text", "subject": "models/churn:20"},
    "schema": {"specversion": "1.0", "data": {"ModelName": "churn", "ModelVersion": 20}},
}


@pytest.mark.parametrize("change", BROKEN.values(), ids=BROKEN)
def test_a_fault_does_not_hide_which_model_version_the_event_is_of(change: dict[str, Any]) -> None:
    body = sample_event("event-grid-pascal.json") | {"subject": "a subject", **change}

    with pytest.raises(EventError) as caught:
        parse(json.dumps(body))

    assert (caught.value.subject, caught.value.event_id) == ("models/churn:20", body["id"])


@pytest.mark.parametrize(
    ("data", "subject"),
    [
        ({"ModelName": "m" * 255, "ModelVersion": "1/../2"}, f"models/{'m' * 255}:1/../2"),
        ({"ModelName": "churn", "ModelVersion": "v" * 300}, f"models/churn:{'v' * 200}…"),
        ({"ModelName": "churn"}, "models/churn:"),
        ({"ModelName": "../x", "ModelVersion": 1}, "the subject \N{REPLACEMENT CHARACTER}"),
        ({}, "the subject \N{REPLACEMENT CHARACTER}"),
    ],
)
def test_the_subject_of_a_fault_names_the_model_if_its_name_can_be_read(data: dict[str, Any], subject: str) -> None:
    body = sample_event("event-grid-pascal.json") | {"subject": "the subject \u202e", "data": data}

    with pytest.raises(EventError) as caught:
        parse(json.dumps(body))

    assert caught.value.subject == subject


def test_a_fault_of_an_event_without_subject_and_id_has_neither() -> None:
    with pytest.raises(EventError) as caught:
        parse("{}")

    assert (caught.value.subject, caught.value.event_id) == ("", "")


def test_an_integer_of_any_length_is_read() -> None:
    digits = "9" * 5_000
    body = event(ModelTags={"count": 1}).replace('"count": 1', f'"count": {digits}')

    assert parse(body).tags == {"count": digits}
    assert read_json(body)["data"]["ModelTags"] == {"count": digits}
    with pytest.raises(EventError, match=r"the model version is '9{200}…'; expected"):
        parse(event(version=1).replace('"ModelVersion": 1', f'"ModelVersion": {digits}'))


def test_an_event_is_as_large_as_a_row_can_keep() -> None:
    assert len(parse(event(ModelTags={"a": "x" * 5_000_000})).body) > 5_000_000
    assert parse(event(ModelTags={"a": incompressible(1_150_000)})).version == "20"
    with pytest.raises(
        EventError, match=r"^the event has 1,350,\d{3} bytes, 1,01\d,\d{3} after compression; the limit is"
    ):
        parse(event(ModelTags={"a": incompressible(1_350_000)}))


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ("", "not JSON"),
        ("[" * 100_000, "nested too deeply"),
        ('{"id": "\ud800"}', "not valid Unicode text"),
        (json.dumps({"id": "\ud800"}), "not valid Unicode text"),
        ("7", "not a JSON object"),
        ('{"specversion": "1.0", "type": "b"}', "does not follow the CloudEvents schema"),
        ("{}", "event type is 'null', not 'Microsoft.MachineLearningServices.ModelRegistered'"),
        (event(version=True), "the model version is 'true'; expected"),
        (event(model="a" * 256), "expected up to 255"),
        (event(model=".a"), "beginning with a letter or digit"),
        (json.dumps(sample_event("event-grid-pascal.json") | {"data": "text"}), "data is not a JSON object"),
    ],
)
def test_an_event_that_cannot_be_read_is_refused_with_the_problem(body: str, message: str) -> None:
    with pytest.raises(EventError, match=message):
        parse(body)


@settings(deadline=None, max_examples=40)
@given(st.text() | json_values.map(json.dumps))
def test_any_text_is_read_or_refused_with_an_event_error(body: str) -> None:
    parse_or_refuse(body)


@settings(deadline=None)
@given(st.sampled_from(list(SHAPES)), st.data())
def test_any_change_of_a_real_event_is_read_or_refused_with_an_event_error(name: str, data: Any) -> None:
    body = sample_event(name)
    body[data.draw(st.sampled_from([*body, "specversion"]))] = data.draw(json_values)
    body["data"] = data.draw(st.just(body["data"]) | json_values)

    read = parse_or_refuse(json.dumps(body))

    if read:
        allowed = set(string.ascii_letters + string.digits + "-_.")
        assert set(read.model + read.version) <= allowed
        assert all(isinstance(value, str) for value in read.tags.values())


def parse_or_refuse(body: str) -> ModelRegistered | None:
    """Parse an event; all texts of a refusal must be printable."""
    try:
        return parse(body)
    except EventError as error:
        shown = f"{error}{error.subject}{error.event_id}"
    assert shown.isprintable()
    return None

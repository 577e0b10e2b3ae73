"""Read events: every known shape of Azure ML and Event Grid, and no other."""

import json
import string
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from model_release.domain.events import ModelRegistered, Workspace, parse
from model_release.errors import EventError
from tests.environment import WORKSPACE, event, sample_event

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
    assert caught.value.subject == "nothing"


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ("", "not JSON"),
        ("[" * 100_000, "nested too deeply"),
        ('{"id": "\ud800"}', "not valid Unicode text"),
        (json.dumps({"id": "\ud800"}), "not valid Unicode text"),
        ("7", "not a JSON object"),
        ('{"eventTime": "yesterday"}', "does not follow the Event Grid schema"),
        ('{"specversion": "1.0", "source": "a", "type": "b", "time": "z"}', "does not follow the CloudEvents schema"),
        ("{}", "event type is 'null', not 'Microsoft.MachineLearningServices.ModelRegistered'"),
        (event(ModelName="a", modelName="b"), "data has duplicate keys"),
        (event(version=True), "the model version is 'true'; expected"),
        (event(model="a" * 256), "expected up to 255"),
        (event(model=".a"), "beginning with a letter or digit"),
        (json.dumps(sample_event("event-grid-pascal.json") | {"data": "text"}), "data is not a JSON object"),
    ],
)
def test_an_event_that_cannot_be_read_is_refused_with_the_problem(body: str, message: str) -> None:
    with pytest.raises(EventError, match=message):
        parse(body)


@settings(deadline=None)
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
    """Parse an event; the message of a refusal must be printable."""
    try:
        return parse(body)
    except EventError as error:
        message = str(error)
    assert message.isprintable()
    return None

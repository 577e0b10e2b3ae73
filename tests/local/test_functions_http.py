"""The local Functions host routes and converts HTTP requests as the real one does."""

import pytest
import requests

from local.functions_host import FunctionsHost
from local.serving import Server
from tests.local.recording_app import RecordingApp


def test_requests_and_responses_are_converted(url: str) -> None:
    answer = requests.post(f"{url}/API/Things/7?q=a%20b", "body", headers={"X-Sent": "by us"}, timeout=5)

    seen = answer.json()
    headers = seen.pop("headers")
    assert seen == {
        "method": "POST",
        "url": f"{url}/API/Things/7?q=a%20b",
        "route": {"id": "7"},
        "query": {"q": "a b"},
        "body": "body",
    }
    assert headers["x-sent"] == "by us"
    assert (answer.status_code, answer.headers["X-Answered"]) == (201, "yes")
    assert answer.headers["Content-Type"] == "application/json"
    # The real host writes the empty domain too, so Python's own clients ignore the cookie.
    assert answer.headers["Set-Cookie"] == "a=1; domain=; path=/; httponly"


@pytest.mark.parametrize(
    ("query", "seen"),
    [
        ("q=1&q=2", {"q": "1,2"}),
        ("Q=1&q=2", {"q": "1,2"}),
        ("Q=1", {"Q": "1"}),
        ("q&r=", {}),
        ("code=k", {"code": "k"}),
    ],
)
def test_equal_names_in_the_query_are_joined_and_empty_values_are_left_out(
    url: str, query: str, seen: dict[str, str]
) -> None:
    answer = requests.get(f"{url}/api/things/7?{query}", timeout=5)

    assert answer.json()["query"] == seen


@pytest.mark.parametrize(
    ("escaped", "value"), [("a%20b", "a b"), ("a%2Fb", "a%2Fb"), ("100%25", "100%"), ("a+b", "a+b")]
)
def test_a_route_parameter_is_decoded_once_and_keeps_an_escaped_slash(url: str, escaped: str, value: str) -> None:
    seen = requests.get(f"{url}/api/things/{escaped}", timeout=5).json()

    assert seen["route"] == {"id": value}
    assert seen["url"].endswith(f"/api/things/{escaped}")


def test_a_literal_segment_goes_before_a_parameter(url: str) -> None:
    answer = requests.get(f"{url}/api/things/best", timeout=5)

    assert (answer.text, answer.headers["Content-Type"]) == ("the best", "text/plain; charset=utf-8")


@pytest.mark.parametrize(
    ("path", "text"),
    [
        ("/api/numbers/-7", "-7"),
        ("/api/files/a/b", "a/b"),
        ("/api/files/a/", "a/"),
        ("/api/files", "None"),
        ("/api/files/", "None"),
        ("/api/pages/2", "2"),
        ("/api/pages/2/", "2"),
        ("/api/pages", "None"),
    ],
)
def test_routes_have_constraints_optional_parameters_and_rests_of_a_path(url: str, path: str, text: str) -> None:
    assert requests.get(url + path, timeout=5).text == text


@pytest.mark.parametrize(
    "path",
    [
        "/api/unknown",
        "/api/things",
        "/api/things/1/2",
        "/api//things/1",
        "/api/numbers/x",
        "/api/numbers/1.5",
        "/things/1",
        "/api/",
        "/admin/x",
    ],
)
def test_other_paths_are_not_found_and_have_an_empty_answer(url: str, path: str) -> None:
    answer = requests.get(url + path, timeout=5)

    assert (answer.status_code, answer.text) == (404, "")
    assert "Content-Type" not in answer.headers


@pytest.mark.parametrize("method", ["DELETE", "HEAD", "OPTIONS"])
def test_a_method_that_a_route_does_not_have_is_not_found(url: str, method: str) -> None:
    # As the real host answers, against RFC 9110: https://github.com/Azure/azure-functions-host/issues/10098
    assert requests.request(method, f"{url}/api/things/1", timeout=5).status_code == 404


@pytest.mark.parametrize("method", ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"])
def test_a_route_without_methods_has_all_of_them(url: str, method: str) -> None:
    assert requests.request(method, f"{url}/api/things/best", timeout=5).status_code == 200


@pytest.mark.parametrize(("prefix", "path"), [("", "/things/best"), ("v1/x", "/v1/x/things/best")])
def test_the_route_prefix_can_be_changed(recording: RecordingApp, prefix: str, path: str) -> None:
    host = FunctionsHost(recording.app, http={"routePrefix": prefix})
    with host, Server(host) as server:
        assert requests.get(server.url + path, timeout=5).status_code == 200


@pytest.mark.parametrize(
    "path", ["failing", "nothing", "header?value=k%C3%B6ln", "header?value=a%0D%0AX-Injected:%201"]
)
def test_an_exception_or_an_answer_that_cannot_be_sent_is_a_server_error(url: str, path: str) -> None:
    answer = requests.get(f"{url}/api/{path}", timeout=5)

    assert (answer.status_code, answer.text) == (500, "")
    assert "X-Injected" not in answer.headers

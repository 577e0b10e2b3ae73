"""The client of the table: where it sends what, and how long it waits; a local server answers."""

from typing import Any

import pytest
from azure.core.exceptions import HttpResponseError
from werkzeug.wrappers import Request, Response

from local.azurite import connection_string
from local.serving import Server
from model_release.session import CredentialSession
from model_release.settings import Storage
from model_release.store.table import Patience, table_client
from tests.in_memory import CREDENTIAL

PATIENCE = Patience(connect=2, read=3, retries=1)


class Unavailable(list[Request]):
    """A storage account that answers 503 to each request."""

    def __call__(self, request: Request) -> Response:
        self.append(request)
        return Response("", 503)


def test_a_connection_string_opens_the_table_and_a_request_is_repeated_as_often_as_patience_says() -> None:
    storage = Unavailable()
    with Server(storage) as server:
        client = table_client(Storage(connection_string(server.url)), CREDENTIAL, PATIENCE)
        with pytest.raises(HttpResponseError):
            client.get_entity("p", "1")

    assert client.table_name == "modelreleases"
    first, *others = storage
    assert len(others) == PATIENCE.retries
    assert first.path == "/devstoreaccount1/modelreleases(PartitionKey='p',RowKey='1')"
    assert first.headers["Authorization"].startswith("SharedKey devstoreaccount1:")
    assert first.headers["User-Agent"] == "model-release"


def test_an_endpoint_opens_the_table_with_the_identity() -> None:
    client = table_client(Storage(table_endpoint="https://account.table.core.windows.net"), CREDENTIAL, PATIENCE)

    assert (client.url, client.table_name) == ("https://account.table.core.windows.net", "modelreleases")


def test_requests_are_sent_by_the_one_way_to_another_server_with_the_times_of_patience() -> None:
    client = table_client(Storage(table_endpoint="https://account.table.core.windows.net"), CREDENTIAL, PATIENCE)

    transport: Any = client._client._client._pipeline._transport

    assert isinstance(transport.session, CredentialSession)
    assert (transport.connection_config.timeout, transport.connection_config.read_timeout) == (2, 3)

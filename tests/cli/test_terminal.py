"""The settings of this machine."""

import os
from pathlib import Path

import click
import pytest

from model_release.cli.terminal import environment


def test_environment_variables_override_local_settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "local.settings.json").write_text('{"Values": {"AML_WORKSPACES": "file", "RELEASE_MAP": "file"}}')
    monkeypatch.setenv("RELEASE_MAP", "variable")

    values = environment(tmp_path)

    assert (values["AML_WORKSPACES"], values["RELEASE_MAP"]) == ("file", "variable")


def test_the_identity_of_local_settings_is_used_to_sign_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "local.settings.json").write_text('{"Values": {"IDENTITY_ENDPOINT": "a", "IDENTITY_HEADER": "b"}}')
    monkeypatch.setenv("IDENTITY_ENDPOINT", "variable")
    monkeypatch.setenv("IDENTITY_HEADER", "")
    monkeypatch.delenv("IDENTITY_HEADER")

    environment(tmp_path)

    assert (os.environ["IDENTITY_ENDPOINT"], os.environ["IDENTITY_HEADER"]) == ("variable", "b")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b'{"Values":\n}', "local.settings.json is not JSON: line 2, column 1"),
        (b"\xff", "local.settings.json is not UTF-8 text"),
        (b"[]", "local.settings.json has no object `Values`; copy local.settings.sample.json"),
        (b'{"Values": 1}', "local.settings.json has no object `Values`; copy local.settings.sample.json"),
    ],
)
def test_unreadable_local_settings_are_an_error(tmp_path: Path, content: bytes, message: str) -> None:
    (tmp_path / "local.settings.json").write_bytes(content)

    with pytest.raises(click.ClickException) as error:
        environment(tmp_path)

    assert error.value.message == f"{tmp_path}/{message}"

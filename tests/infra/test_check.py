"""`make infra` finds planted faults; with a Bicep CLI on PATH."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from infra.check import is_pinned, query_faults, snapshot_faults, template_faults
from model_release.app import HOME
from tests.infra.templates import INFRA

BICEP, NODE, KUSTO = shutil.which("bicep"), shutil.which("node"), HOME / ".kusto"
needs_bicep = pytest.mark.skipif(not BICEP, reason="no Bicep CLI on PATH")
needs_kusto = pytest.mark.skipif(not (NODE and KUSTO.is_dir()), reason="`make infra` did not install the KQL parser")


@pytest.fixture
def infra(tmp_path: Path) -> Path:
    """Return a copy of the templates with one snapshot, and of no document."""
    copy = tmp_path / "infra"
    shutil.copytree(INFRA, copy, ignore=shutil.ignore_patterns("__pycache__"))
    for file in (copy / "snapshots").iterdir():
        if not file.name.startswith(("plain", "everything.snapshot")):
            file.unlink()
    (tmp_path / "docs").mkdir()
    return copy


def change(file: Path, before: str, after: str) -> None:
    text = file.read_text()
    assert before in text
    file.write_text(text.replace(before, after, 1))


@needs_bicep
@pytest.mark.parametrize(
    ("before", "after", "fault"),
    [
        ("module eventSubscriptions", "targetScope = 'planet'\nmodule eventSubscriptions", "Error BCP"),
        ("param systemTopicIds", "param notUsed string\nparam systemTopicIds", "Warning no-unused-params"),
        ("    name: 'model-release-", "    name: 'models-", "event-subscriptions.json differs"),
    ],
)
def test_an_error_a_warning_and_a_template_that_was_not_compiled_are_found(
    infra: Path, before: str, after: str, fault: str
) -> None:
    change(infra / "event-subscriptions.bicep", before, after)

    faults = list(template_faults(BICEP, infra, ["event-subscriptions"], write=False))

    assert any(fault in one for one in faults)


@needs_bicep
def test_a_changed_resource_is_found_and_can_be_written(infra: Path) -> None:
    change(infra / "main.bicep", "'func-${", "'app-${")

    faults = list(snapshot_faults(BICEP, infra, write=False))

    assert faults[0].startswith("plain.bicepparam: other resources are predicted")
    assert list(snapshot_faults(BICEP, infra, write=True)) == []
    assert "app-plain" in (infra / "snapshots/plain.snapshot.json").read_text()


@needs_bicep
def test_restricted_access_without_an_operator_is_refused_before_anything_is_deployed(infra: Path) -> None:
    with (infra / "snapshots/plain.bicepparam").open("a") as parameters:
        parameters.write("param restrictAccess = true\n")

    faults = list(snapshot_faults(BICEP, infra, write=True))

    assert any("set OPERATOR_ADDRESSES to your address ranges" in one for one in faults)


@needs_bicep
def test_another_version_of_bicep_compiles_the_templates_and_compares_nothing(infra: Path) -> None:
    assert is_pinned(BICEP, infra)
    change(infra / "main.json", '"version": "', '"version": "1')

    assert not is_pinned(BICEP, infra)


@needs_kusto
def test_each_wrong_column_table_or_operator_of_a_query_is_found_and_no_other(infra: Path) -> None:
    shutil.copytree(HOME / "docs", infra.parent / "docs", dirs_exist_ok=True)
    planted = {
        "AppRequests | where Name ==": "AppRequests | where Nmae ==",
        "AppTraces | where Message": "AppTraces | wheer Message",
        "AppExceptions | where": "AppExcuses | where",
    }
    for before, after in planted.items():
        change(infra / "snapshots/everything.snapshot.json", before, after)
    (infra.parent / "docs/some.md").write_text("# Q\n\n```kusto\nAppTraces\n| where Nothing == 1\n```\n")

    faults = query_faults(NODE, KUSTO, infra)

    for name in ("Nmae", "wheer", "AppExcuses", "Nothing"):
        assert any(name in fault for fault in faults)
    assert {fault.partition(": ")[0] for fault in faults} == {
        "A release was refused",
        "The app has no functions",
        "Failed deliveries with their exceptions",
        "some.md, query 1",
    }


@pytest.mark.parametrize(("required", "code"), [("", 0), ("required", 1)])
def test_without_a_bicep_cli_the_check_says_so_and_fails_only_if_it_is_required(required: str, code: int) -> None:
    done = subprocess.run(
        [sys.executable, INFRA / "check.py"],
        env={**os.environ, "PATH": "", "INFRA_CHECK": required},
        capture_output=True,
        text=True,
        check=False,
    )

    assert (done.returncode, done.stdout) == (
        code,
        "infra: 0 faults; not checked: bicep is not on PATH; not checked: node is not on PATH\n",
    )

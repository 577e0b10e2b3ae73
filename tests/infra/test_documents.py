"""The documents about the deployment, the example pipelines, and what is packed."""

import json
import re
from importlib.resources import files
from typing import Any

import jsonschema
import pytest
import yaml

from model_release.app import HOME
from tests.infra.templates import INFRA, SNAPSHOTS, only, predicted

# Settings for storage that these templates do not use.
OTHER_STORAGE = {"AzureWebJobsStorage", "AzureWebJobsStorage__accountName"}
PLATFORM = {
    "AzureWebJobsDisableHomepage",
    "AzureWebJobsStorage__blobServiceUri",
    "AzureWebJobsStorage__credential",
    "APPLICATIONINSIGHTS_AUTHENTICATION_STRING",
    "APPLICATIONINSIGHTS_CONNECTION_STRING",
    "AzureFunctionsJobHost__telemetryMode",
    "PYTHON_APPLICATIONINSIGHTS_ENABLE_TELEMETRY",
}


def test_template_sample_code_and_documentation_have_the_same_settings() -> None:
    code = set(
        re.findall(r'"([A-Z][A-Z_]+[A-Z]|AzureWebJobs\w+)"', (HOME / "model_release/settings/__init__.py").read_text())
    )
    sample = set(json.loads((HOME / "local.settings.sample.json").read_text())["Values"])
    document = (HOME / "docs/settings.md").read_text()
    listed = {
        name for row in re.findall(r"^\| (`.*?) \|", document, re.MULTILINE) for name in re.findall(r"`(\w+)`", row)
    }
    described = set(re.findall(r"`([A-Z][A-Z_]+[A-Z]|AzureWebJobs\w+)`", document))
    storage_by_identity = {name for name in code if name.startswith("AzureWebJobsStorage__")}

    assert template_settings() - PLATFORM == code - OTHER_STORAGE
    assert sample - {"FUNCTIONS_WORKER_RUNTIME", "IDENTITY_ENDPOINT", "IDENTITY_HEADER"} == code - storage_by_identity
    assert listed == code - {"AzureWebJobsStorage__tableServiceUri"}
    assert described == code


def test_the_deployment_document_lists_every_variable_alert_and_query() -> None:
    document = (HOME / "docs/deploy.md").read_text()
    variables = variables_of_azd() - {"AZURE_ENV_NAME", "AZURE_LOCATION"}
    rules = predicted("plain", "Microsoft.Insights/scheduledQueryRules")
    metrics = predicted("plain", "Microsoft.Insights/metricAlerts")
    alerts = [one["name"].removeprefix("alert-plain-") for one in rules]
    alerts += [one["properties"]["criteria"]["allOf"][0]["name"] for one in metrics]
    saved = predicted("plain", "Microsoft.OperationalInsights/workspaces/savedSearches")
    queries = [one["properties"]["displayName"] for one in saved]

    assert {name for name in variables if f"`{name}`" not in document} == set()
    assert [name for name in alerts if f"| `{name}` |" not in document] == []
    assert [name for name in queries if f"| {name} |" not in document] == []


def test_each_click_path_links_to_its_vendors_page() -> None:
    documents = [*HOME.glob("*.md"), *(HOME / "docs").rglob("*.md")]
    text = " ".join(" ".join(document.read_text() for document in documents).split())
    clicks = re.findall(r"\*[^*`|]+ > [^*`|]+\*\S*", text)
    vendors = r"\*\]\(https://(learn\.microsoft|docs\.github)\.com/"

    assert len(clicks) > 5
    assert [one for one in clicks if not re.search(vendors, one)] == []
    # Another sign between two menus is not found above.
    assert re.findall(r"\*[A-Z][^*]*, (?:[A-Z]|…)[^*]*\*", text) == []


def test_the_workflow_signs_in_with_the_credential_that_the_document_creates() -> None:
    workflow = yaml.load((HOME / "docs/pipelines/github-workflow.yml").read_text(), Yaml12)
    document = (HOME / "docs/deploy.md").read_text()

    # https://github.com/Azure/azure-dev/issues/5473: a job of an environment has that as its subject.
    assert f'"subject": "repo:OWNER/REPOSITORY:environment:{workflow["jobs"]["deploy"]["environment"]}"' in document
    assert "federated-credential delete --id CLIENT_ID --federated-credential-id OWNER-REPOSITORY-pull_" in document


def test_the_github_workflow_passes_every_variable_to_azd() -> None:
    workflow = yaml.load((HOME / "docs/pipelines/github-workflow.yml").read_text(), Yaml12)

    assert variables_of_azd() <= workflow["jobs"]["deploy"]["env"].keys()


def variables_of_azd() -> set[str]:
    return set(re.findall(r"\$\{([A-Z_]+)", (INFRA / "main.parameters.json").read_text()))


def template_settings() -> set[str]:
    return {name for one in SNAPSHOTS for name in only("Microsoft.Web/sites/config", one)["properties"]}


def vendored_schema(name: str) -> Any:
    return json.loads((files("check_jsonschema") / "builtin_schemas/vendor" / name).read_text())


@pytest.mark.parametrize(
    ("pipeline", "schema"),
    [
        ("docs/pipelines/azure-pipelines.yml", "azure-pipelines.json"),
        ("docs/pipelines/deploy-model.yml", "azure-pipelines.json"),
        ("docs/pipelines/deploy-from-registry.yml", "azure-pipelines.json"),
        ("docs/pipelines/release-step.yml", "azure-pipelines.json"),
        ("docs/pipelines/github-workflow.yml", "github-workflows.json"),
        (".github/workflows/ci.yml", "github-workflows.json"),
        (".github/workflows/weekly.yml", "github-workflows.json"),
    ],
)
def test_a_pipeline_matches_the_published_schema(pipeline: str, schema: str) -> None:
    document = yaml.load((HOME / pipeline).read_text(), Yaml12)

    jsonschema.validate(document, vendored_schema(schema))


@pytest.mark.parametrize(
    "workflow", [".github/workflows/ci.yml", ".github/workflows/weekly.yml", "docs/pipelines/github-workflow.yml"]
)
def test_an_action_is_pinned_by_its_commit(workflow: str) -> None:
    used = re.findall(r"uses: (.*)", (HOME / workflow).read_text())

    assert [action for action in used if not re.fullmatch(r"[\w/-]+@[0-9a-f]{40} # v[\d.]+", action)] == []


def test_no_secret_reaches_the_code_of_a_pull_request() -> None:
    github = yaml.load((HOME / "docs/pipelines/github-workflow.yml").read_text(), Yaml12)["jobs"]
    azure = yaml.load((HOME / "docs/pipelines/azure-pipelines.yml").read_text(), Yaml12)
    (check,) = azure["stages"][0]["jobs"]
    secret = re.compile(r"secrets\.|System\.AccessToken|azureSubscription|group:")

    # The jobs of a pull request, by what runs them.
    assert github["test"]["if"] == "github.event_name != 'pull_request_target'"
    assert github["check-map"]["if"] == "github.event_name != 'pull_request'"
    assert github["deploy"]["if"].startswith("github.event_name == 'push'")
    assert not secret.search(json.dumps(github["test"]))
    # The job with the secret checks out the base branch, and takes one file of the pull request, as data.
    checkouts = [one for one in github["check-map"]["steps"] if "checkout" in one.get("uses", "")]
    assert [one.get("with") for one in checkouts] == [None]
    assert "git show FETCH_HEAD:release_map.yaml" in json.dumps(github["check-map"])
    with_secret = [one for one in check["steps"] if secret.search(json.dumps(one))]
    assert [one["workingDirectory"] for one in with_secret] == ["$(Agent.TempDirectory)/main"]
    assert not secret.search(json.dumps(azure["variables"]))


class Yaml12(yaml.SafeLoader):
    """Read `on` as text, as the services do."""


Yaml12.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in resolvers if tag != "tag:yaml.org,2002:bool" or first not in "oOyYnN"]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}


# An option of a command, a header of curl, an address, and the value of a key or a setting.
KEY_IN_VIEW = re.compile(
    r"""--(?:history-)?key[= ](?!`|option|in\b)\S
    |(?:-H|--header)[= ]*["']?x-functions-key
    |[?&]code=(?!`|…)
    |--key-value|secret\ set.*--value
    |_(?:PAT|KEY)=(?!\$\(|\$\{)["']?\w""",
    re.VERBOSE,
)
SHOWN = (
    *("*.md", "Makefile", "azure.yaml", "docs/**/*.md", "docs/**/*.y*ml", "docs/**/*.http", "infra/**/*.py"),
    *("local/what_to_try.py", "model_release/cli/**/*.py", "model_release/web/pages/*.html", "triggers/*.py"),
)


@pytest.mark.parametrize(
    "line",
    [
        "$ python -m model_release send x.json --key $KEY",
        "$ python -m model_release history --key=abc",
        "$ curl -H 'x-functions-key: KEY' $URL",
        '$ curl --header "x-functions-key: $KEY" $URL',
        "https://APP.azurewebsites.net/api/targets?code=KEY",
        "$ az functionapp keys set --key-value abc",
        "$ export AZURE_DEVOPS_PAT=abc",
    ],
)
def test_a_key_in_view_of_others_is_found(line: str) -> None:
    assert KEY_IN_VIEW.search(line)


def test_no_document_and_no_text_of_a_command_shows_a_key_to_others() -> None:
    """Lists of processes, histories of shells and logs of proxies keep command lines and addresses."""
    files = {path: path.read_text().splitlines() for pattern in SHOWN for path in HOME.glob(pattern)}
    shown = [f"{path}: {line}" for path, lines in files.items() for line in lines if KEY_IN_VIEW.search(line)]

    assert len(files) > 50
    assert shown == []


EVIDENCE = re.compile(r"`test_\w+`|\]\(https://")
# These sentences state nothing about the app.
INTRODUCTIONS = ("Each row", "Two libraries")


def statements() -> list[str]:
    """Return each paragraph, and of each table the rows; what a person can and cannot do are two statements."""
    found = []
    for block in (HOME / "SECURITY.md").read_text().partition("## Who can call what?")[2].split("\n\n"):
        if not block.startswith("|"):
            found.append(block)
            continue
        head, _, *rows = block.splitlines()
        cells = [row.strip("| ").split(" | ") for row in rows]
        found += [one for row in cells for one in (row[1:] if "a person can" in head else [" ".join(row)])]
    return [one for one in found if one.strip("| ") and not one.startswith(("#", *INTRODUCTIONS))]


def test_each_statement_of_the_security_policy_names_its_test_or_its_source() -> None:
    found = statements()

    assert len(found) > 50
    assert [one for one in found if not EVIDENCE.search(one)] == []


def test_each_test_that_the_security_policy_names_exists() -> None:
    named = set(re.findall(r"`(test_\w+)`", (HOME / "SECURITY.md").read_text()))
    defined = {
        name
        for path in (HOME / "tests").rglob("test_*.py")
        for name in re.findall(r"^def (test_\w+)", path.read_text(), re.MULTILINE)
    }

    assert len(named) > 20
    assert named - defined == set()

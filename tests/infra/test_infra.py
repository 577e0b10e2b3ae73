"""The templates that `azd up` deploys, its hooks, the example pipelines, and the documents about them."""

import json
import os
import re
import subprocess
from collections.abc import Iterator
from dataclasses import replace
from importlib.resources import files
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from tests import bicep, published_types
from tests.bicep import Bicep, Choice, Declared, Name, at, resolve

HOME = published_types.HOME
INFRA = HOME / "infra"
FILES = {path.relative_to(INFRA).as_posix(): bicep.read(path) for path in published_types.TEMPLATES}
PUBLISHED = json.loads(published_types.FILE.read_text())["types"]
APP = FILES["modules/app.bicep"]
STORAGE = FILES["modules/storage.bicep"]
MONITORING = FILES["modules/monitoring.bicep"]
TOPIC = FILES["modules/system-topic.bicep"]

# Settings for storage that these templates do not use.
OTHER_STORAGE = {"AzureWebJobsStorage", "AzureWebJobsStorage__accountName"}
PLATFORM = {
    "AzureWebJobsStorage__blobServiceUri",
    "AzureWebJobsStorage__credential",
    "APPLICATIONINSIGHTS_AUTHENTICATION_STRING",
    "APPLICATIONINSIGHTS_CONNECTION_STRING",
    "AzureFunctionsJobHost__telemetryMode",
    "PYTHON_APPLICATIONINSIGHTS_ENABLE_TELEMETRY",
}


def resources() -> Iterator[tuple[str, Bicep, Declared]]:
    for name, file in FILES.items():
        for resource in file.resources.values():
            yield name, file, resource


def created(kind: str) -> list[tuple[Bicep, Any]]:
    """Return the resources of a type that the templates create, each with its file."""
    return [
        (file, at(resource.value, file))
        for _, file, resource in resources()
        if resource.kind.partition("@")[0] == kind and not resource.existing
    ]


def only(kind: str, *path: str) -> Any:
    ((file, body),) = created(kind)
    return at(body, file, *path)


@pytest.mark.parametrize("name", FILES)
def test_a_template_describes_its_parameters_and_outputs_and_uses_only_declared_names(name: str) -> None:
    file = FILES[name]
    declared = [*file.parameters.values(), *file.outputs.values()]

    assert file.undeclared == frozenset()
    assert [one.name for one in declared if not one.description.endswith(".")] == []


def test_a_resource_has_a_published_type_and_sets_only_its_properties() -> None:
    assert [fault for _, file, one in resources() for fault in published_types.faults(one, file, PUBLISHED)] == []


@pytest.mark.parametrize(
    ("change", "fault"),
    [
        ({"kind": "Microsoft.Web/sites@2019-01-01"}, "Microsoft.Web/sites@2019-01-01 is not a published type"),
        ({"value": {"location": "x", "name": "x", "colour": "x"}}, "site.colour cannot be set"),
        ({"value": {"name": "x"}}, "site.location is missing"),
        (
            {"value": {"location": "x", "name": "x", "properties": {"state": "x"}}},
            "site.properties.state cannot be set",
        ),
        ({"value": {"location": "x", "name": "x", "properties": {"httpsOnly": "yes"}}}, "'yes' is not bool"),
        ({"value": {"location": "x", "name": "x", "properties": {"ipMode": "IPv5"}}}, "'IPv5' is not IPv4"),
    ],
)
def test_the_check_against_published_types_finds_a_fault(change: dict[str, Any], fault: str) -> None:
    (found,) = published_types.faults(replace(APP.resources["site"], **change), APP, PUBLISHED)

    assert fault in found


def test_a_module_gets_its_parameters_and_has_the_outputs_that_are_read() -> None:
    for file in FILES.values():
        text = file.path.read_text()
        for module in file.modules.values():
            inner = FILES[(file.path.parent / module.kind).relative_to(INFRA).as_posix()]
            passed = set(at(module.value, file, "params"))
            needed = {one.name for one in inner.parameters.values() if one.value is None}

            assert needed <= passed <= set(inner.parameters), module.name
            outputs = set(re.findall(rf"\b{module.name}(?:\[\w+\])?!?\.outputs\.(\w+)", text))
            assert outputs <= set(inner.outputs), module.name


def test_azd_passes_the_parameters_of_the_template() -> None:
    passed = json.loads((INFRA / "main.parameters.json").read_text())["parameters"]
    parameters = FILES["main.bicep"].parameters
    references = {name: one["value"] for name, one in passed.items()}

    assert set(passed) == set(parameters) - {"tags"}
    assert all(re.fullmatch(r"\$\{[A-Z_]+(=[\w.]*)?\}", reference) for reference in references.values())
    for name, reference in references.items():
        default = reference.partition("=")[2].rstrip("}")
        assert default in (parameters[name].value or "", str(parameters[name].value).lower()), name


def test_the_templates_output_no_secret() -> None:
    secret = re.compile("key|secret|token|password|connectionstring", re.IGNORECASE)

    for file in FILES.values():
        text = file.path.read_text()
        outputs = [line for line in text.splitlines() if line.startswith("output ")]
        assert [line for line in outputs if secret.search(line)] == []
        # Functions such as listKeys() read secrets.
        assert re.findall(r"\blist\w*\(", text) == []


def test_no_resource_accepts_a_key() -> None:
    storage = only("Microsoft.Storage/storageAccounts", "properties")
    publishing = created("Microsoft.Web/sites/basicPublishingCredentialsPolicies")

    assert storage["allowSharedKeyAccess"] is False
    assert storage["allowBlobPublicAccess"] is False
    assert only("Microsoft.Insights/components", "properties", "DisableLocalAuth") is True
    assert only("Microsoft.OperationalInsights/workspaces", "properties", "features") == {"disableLocalAuth": True}
    assert only("Microsoft.EventGrid/topics", "properties", "disableLocalAuth") is True
    assert {body["name"]: body["properties"]["allow"] for _, body in publishing} == {"ftp": False, "scm": False}
    authentication = only(
        "Microsoft.Web/sites", "properties", "functionAppConfig", "deployment", "storage", "authentication"
    )
    assert authentication["type"] == "UserAssignedIdentity"


def test_every_endpoint_requires_https_with_tls_1_2() -> None:
    storage = only("Microsoft.Storage/storageAccounts", "properties")
    site = only("Microsoft.Web/sites", "properties")

    assert (storage["supportsHttpsTrafficOnly"], storage["minimumTlsVersion"]) == (True, "TLS1_2")
    assert (site["httpsOnly"], site["siteConfig"]["minTlsVersion"]) == (True, "1.2")
    assert (site["siteConfig"]["scmMinTlsVersion"], site["siteConfig"]["ftpsState"]) == ("1.2", "Disabled")
    assert only("Microsoft.EventGrid/topics", "properties", "minimumTlsVersionAllowed") == "1.2"


def test_the_app_runs_python_3_13_on_flex_consumption_with_one_identity() -> None:
    assert only("Microsoft.Web/serverfarms", "sku") == {"name": "FC1", "tier": "FlexConsumption"}
    assert only("Microsoft.Web/sites", "properties", "functionAppConfig", "runtime") == {
        "name": "python",
        "version": "3.13",
    }
    assert only("Microsoft.Web/sites", "identity") == {
        "type": "UserAssigned",
        "userAssignedIdentities": {"${identity.id}": {}},
    }


def test_a_role_is_assigned_once_and_at_the_narrowest_scope() -> None:
    assigned = {
        (bicep.value_text(body["scope"]), role_id(body, file), bicep.value_text(body["properties"]["principalId"]))
        for file, body in created("Microsoft.Authorization/roleAssignments")
    }
    app = "identity.properties.principalId"

    assert assigned == {
        ("account", "b7e6dc6d-f1e8-4753-8033-0f276bb0955b", app),  # Storage Blob Data Owner
        ("account", "0a9a7e1f-b9d0-4cc4-a60d-0319b160aaa3", app),  # Storage Table Data Contributor
        ("applicationInsights", "3913510d-42f4-4e42-8a64-420c390055eb", app),  # Monitoring Metrics Publisher
        ("topic", "d5a91429-5739-47e2-a06b-3470a27159e7", app),  # EventGrid Data Sender
        ("workspace", "roleDefinitionId", "principalId"),  # the custom role
        ("secret", "4633458b-17de-408a-b874-0445c86b69e6", "principalId"),  # Key Vault Secrets User
        (
            "deadLetters",
            "ba92f5b4-2d11-453d-a403-e96b0029c9fe",  # Storage Blob Data Contributor
            "empty(existingTopicId) ? topic!.identity.principalId : existingTopic!.identity.principalId",
        ),
    }


def role_id(body: Any, file: Bicep) -> str:
    role = body["properties"]["roleDefinitionId"]
    if isinstance(role, Name):
        return role.text
    (variable,) = re.findall(r"^subscriptionResourceId\('Microsoft.Authorization/roleDefinitions', (\w+)\)$", role.text)
    return str(file.variables[variable].value)


def test_the_custom_role_only_reads_models() -> None:
    (permission,) = only("Microsoft.Authorization/roleDefinitions", "properties", "permissions")

    assert permission == {
        "actions": [
            "Microsoft.MachineLearningServices/workspaces/read",
            "Microsoft.MachineLearningServices/workspaces/models/read",
            "Microsoft.MachineLearningServices/workspaces/models/versions/read",
        ],
        "notActions": [],
        "dataActions": [],
        "notDataActions": [],
    }
    workspace_role = FILES["grants.bicep"].modules["workspaceRoles"]
    assert at(workspace_role.value, FILES["grants.bicep"], "params", "roleDefinitionId").text == "modelReader.id"


def test_azd_deploys_only_to_its_own_resource_group() -> None:
    # `azd down` deletes each resource group that its deployment touched: https://github.com/Azure/azure-dev/issues/2916
    main = FILES["main.bicep"]

    assert {at(module.value, main, "scope") for module in main.modules.values()} == {Name("group")}
    for module in main.modules.values():
        inner = FILES[module.kind]
        elsewhere = [
            one for one in inner.resources.values() if "resourceGroup(" in str(at(one.value, inner).get("scope"))
        ]
        assert all(one.existing for one in elsewhere)


def test_a_system_topic_is_created_unless_one_exists() -> None:
    topic = TOPIC.resources["topic"]

    assert (topic.condition, TOPIC.resources["existingTopic"].existing) == ("(empty(existingTopicId))", True)
    assert at(topic.value, TOPIC, "properties") == {
        "source": Name("workspaceId"),
        "topicType": "Microsoft.MachineLearningServices.Workspaces",
    }
    assert at(topic.value, TOPIC, "identity", "type") == "SystemAssigned"


def test_the_event_subscription_delivers_one_registered_model_at_a_time_and_stores_dead_letters() -> None:
    subscription = only("Microsoft.EventGrid/systemTopics/eventSubscriptions", "properties")
    destination = subscription["destination"]
    dead_letter = subscription["deadLetterWithResourceIdentity"]

    assert destination["endpointType"] == "AzureFunction"
    assert destination["properties"]["resourceId"].text == "${functionAppId}/functions/model_registered"
    assert destination["properties"]["maxEventsPerBatch"] == 1
    assert subscription["filter"] == {"includedEventTypes": ["Microsoft.MachineLearningServices.ModelRegistered"]}
    assert subscription["retryPolicy"] == {"maxDeliveryAttempts": 30, "eventTimeToLiveInMinutes": 1440}
    assert dead_letter["identity"] == {"type": "SystemAssigned"}
    assert dead_letter["deadLetterDestination"]["endpointType"] == "StorageBlob"
    assert "deadLetterDestination" not in subscription


def test_access_can_be_restricted_to_event_grid_and_the_operators() -> None:
    config = only("Microsoft.Web/sites", "properties", "siteConfig")

    restricted, open_to_all = config["ipSecurityRestrictions"].options
    (event_grid,), operators = restricted.options
    assert (event_grid["tag"], event_grid["ipAddress"], event_grid["action"]) == (
        "ServiceTag",
        "AzureEventGrid",
        "Allow",
    )
    assert (operators, open_to_all) == (Name("operatorRules"), [])
    assert config["ipSecurityRestrictionsDefaultAction"] == Choice(("Deny", "Allow"))
    assert config["scmIpSecurityRestrictions"] == Choice((Name("operatorRules"), []))
    assert config["scmIpSecurityRestrictionsDefaultAction"] == Choice(("Deny", "Allow"))


def test_metric_alerts_watch_dead_letters_dropped_events_and_failed_deliveries() -> None:
    alerts = resolve(TOPIC.variables["alerts"].value, TOPIC)
    criteria = only("Microsoft.Insights/metricAlerts", "properties", "criteria", "allOf")[0]

    assert {one["metric"]: (one["threshold"], one["window"]) for one in alerts} == {
        "DeadLetteredCount": (0, "PT5M"),
        "DroppedEventCount": (0, "PT5M"),
        "DeliveryAttemptFailCount": (5, "PT15M"),
    }
    assert (criteria["operator"], criteria["timeAggregation"]) == ("GreaterThan", "Total")
    assert criteria["metricNamespace"] == "Microsoft.EventGrid/systemTopics"


def test_log_alerts_watch_refused_releases_pending_claims_and_missing_catch_ups() -> None:
    alerts = {one["name"]: one for one in resolve(MONITORING.variables["logAlerts"].value, MONITORING)}
    fires = {
        name: (
            one["timeAggregation"],
            one["measure"],
            one["operator"],
            bicep.value_text(one["threshold"]),
            one["window"],
        )
        for name, one in alerts.items()
    }

    assert fires == {
        "refused-release": ("Count", None, "GreaterThan", "0", "PT15M"),
        "pending-claim": ("Maximum", "oldest_pending_seconds", "GreaterThan", "3600", "PT15M"),
        "no-catch-up": ("Minimum", "workspaces", "LessThan", "workspaceCount", "PT2H"),
        "cannot-start": ("Count", None, "GreaterThan", "0", "PT5M"),
        "no-functions": ("Count", None, "GreaterThan", "0", "PT5M"),
    }
    assert '"sweep"' in alerts["pending-claim"]["query"].text
    assert '"catch_up" and tobool(line.complete)' in alerts["no-catch-up"]["query"].text
    assert 'state == "refused"' in alerts["refused-release"]["query"].text


def test_queries_read_the_fields_of_the_log_lines() -> None:
    fields = {
        "event", "event_id", "workspace", "model", "version", "route", "target", "state", "reason", "release_id",
        "attempt", "milliseconds", "listed", "started", "complete", "oldest_pending_seconds",
    }  # fmt: skip
    text = MONITORING.path.read_text()

    assert set(re.findall(r"\bline\.(\w+)", text)) == fields


def test_alerts_are_sent_to_the_configured_addresses() -> None:
    receiver = only("Microsoft.Insights/actionGroups", "properties", "emailReceivers")

    assert at(receiver, MONITORING)["emailAddress"] == Name("email")
    assert only("Microsoft.Insights/scheduledQueryRules", "properties", "actions") == {
        "actionGroups": Name("actionGroups")
    }


def test_template_sample_code_and_documentation_have_the_same_settings() -> None:
    code = set(re.findall(r'"([A-Z][A-Z_]+[A-Z]|AzureWebJobs\w+)"', (HOME / "model_release/settings.py").read_text()))
    sample = set(json.loads((HOME / "local.settings.sample.json").read_text())["Values"])
    document = (HOME / "docs/settings.md").read_text()
    listed = {
        name for row in re.findall(r"^\| (`.*?) \|", document, re.MULTILINE) for name in re.findall(r"`(\w+)`", row)
    }
    described = set(re.findall(r"`([A-Z][A-Z_]+[A-Z]|AzureWebJobs\w+)`", document))
    storage_by_identity = {name for name in code if name.startswith("AzureWebJobsStorage__")}

    assert template_settings() - PLATFORM == code - OTHER_STORAGE
    assert sample - {"FUNCTIONS_WORKER_RUNTIME"} == code - storage_by_identity
    assert listed == code - {"AzureWebJobsStorage__tableServiceUri"}
    assert described == code


def test_the_deployment_document_lists_every_variable_alert_and_query() -> None:
    document = (HOME / "docs/deploy.md").read_text()
    variables = variables_of_azd() - {"AZURE_ENV_NAME", "AZURE_LOCATION"}
    alerts = [one["name"] for one in (*TOPIC.variables["alerts"].value, *MONITORING.variables["logAlerts"].value)]
    queries = [one["displayName"] for one in MONITORING.variables["savedQueries"].value]

    assert {name for name in variables if f"`{name}`" not in document} == set()
    assert [name for name in alerts if f"| `{name}` |" not in document] == []
    assert [name for name in queries if f"| {name} |" not in document] == []


def test_the_github_workflow_passes_every_variable_to_azd() -> None:
    workflow = yaml.load((HOME / "docs/pipelines/github-workflow.yml").read_text(), Yaml12)

    assert variables_of_azd() <= workflow["jobs"]["deploy"]["env"].keys()


def variables_of_azd() -> set[str]:
    return set(re.findall(r"\$\{([A-Z_]+)", (INFRA / "main.parameters.json").read_text()))


def template_settings() -> set[str]:
    parts = [resolve(part, APP) for part in only("Microsoft.Web/sites/config", "properties").options]
    options = [option for part in parts for option in (part.options if isinstance(part, Choice) else [part])]
    return {name for option in options for name in option}


def test_the_app_gets_a_token_only_as_a_key_vault_reference() -> None:
    unused, used = APP.variables["tokenSettings"].value.options

    assert unused == {}
    assert used["AZURE_DEVOPS_PAT"].text.startswith("@Microsoft.KeyVault(")
    assert only("Microsoft.Web/sites", "properties", "keyVaultReferenceIdentity").text == "identity.id"


@pytest.fixture
def az(tmp_path: Path) -> Path:
    """Return a folder with an `az` that records its arguments, and fails once for each line of the file `failures`."""
    script = tmp_path / "az"
    script.write_text(
        "#!/bin/sh\n"
        'cd "$(dirname "$0")"\n'
        "printf '%s\\n' \"$@\" >> calls; printf '\\036' >> calls\n"
        "[ -s failures ] || exit 0\n"
        "tail -n +2 failures > fewer; mv fewer failures; exit 1\n"
    )
    script.chmod(0o755)
    return tmp_path


def run(hook: str, az: Path, **environment: str) -> tuple[int, list[list[str]]]:
    """Run a hook as azd does; return its exit code and its calls of az."""
    outputs = {name: f"<{name}>" for name in FILES["main.bicep"].outputs}
    azd = {"AZURE_ENV_NAME": "prod", "AZURE_LOCATION": "westeurope", "AZURE_SUBSCRIPTION_ID": "<subscription>"}
    path = {"PATH": f"{az}{os.pathsep}{os.environ['PATH']}", "RETRY_SECONDS": "0"}
    command = ["sh", INFRA / "hooks" / hook]
    done = subprocess.run(command, env=azd | outputs | path | environment, capture_output=True, check=False, timeout=20)
    return done.returncode, [call.splitlines() for call in (az / "calls").read_text().split("\x1e")[:-1]]


@pytest.mark.parametrize(
    ("hook", "template"), [("postprovision", "grants.bicep"), ("postdeploy", "event-subscriptions.bicep")]
)
def test_a_hook_passes_exactly_the_parameters_of_its_template(hook: str, template: str, az: Path) -> None:
    code, (call,) = run(f"{hook}.sh", az)
    passed = dict(word.split("=", 1) for word in call[call.index("--parameters") + 1 :])
    windows = (INFRA / f"hooks/{hook}.ps1").read_text()

    assert code == 0
    assert call[call.index("--template-file") + 1] == str(INFRA / template)
    assert set(passed) == set(re.findall(r"^ +(\w+) = ", windows, re.MULTILINE)) == set(FILES[template].parameters)
    assert f"Deploy '{template.removesuffix('.bicep')}'" in windows


def test_the_app_resolves_the_token_again_after_it_got_the_role(az: Path) -> None:
    _, (deployment, refresh) = run("postprovision.sh", az, AZURE_DEVOPS_PAT_SECRET="<secret>")

    assert "azureDevOpsPatSecret=<secret>" in deployment
    assert refresh[-1].startswith("<FUNCTION_APP_ID>/config/configreferences/appsettings/refresh?")


@pytest.mark.parametrize(("failures", "code", "attempts"), [(2, 0, 3), (9, 1, 5)])
def test_the_event_subscription_is_deployed_at_most_five_times(
    failures: int, code: int, attempts: int, az: Path
) -> None:
    (az / "failures").write_text("again\n" * failures)

    done, calls = run("postdeploy.sh", az)

    assert (done, len(calls)) == (code, attempts)


def test_azd_runs_every_hook() -> None:
    azure = yaml.safe_load((HOME / "azure.yaml").read_text())
    scripts = {shell["run"] for hook in azure["hooks"].values() for shell in hook.values()}
    service = next(iter(azure["services"]))

    assert scripts == {path.relative_to(HOME).as_posix() for path in INFRA.glob("hooks/post*")}
    assert all(os.access(INFRA / f"hooks/{hook}.sh", os.X_OK) for hook in azure["hooks"])
    assert f"'azd-service-name': '{service}'" in APP.path.read_text()


def vendored_schema(name: str) -> Any:
    return json.loads((files("check_jsonschema") / "builtin_schemas/vendor" / name).read_text())


@pytest.mark.parametrize(
    ("pipeline", "schema"),
    [
        ("docs/pipelines/azure-pipelines.yml", "azure-pipelines.json"),
        ("docs/pipelines/deploy-model.yml", "azure-pipelines.json"),
        ("docs/pipelines/release-step.yml", "azure-pipelines.json"),
        ("docs/pipelines/github-workflow.yml", "github-workflows.json"),
        (".github/workflows/ci.yml", "github-workflows.json"),
    ],
)
def test_a_pipeline_matches_the_published_schema(pipeline: str, schema: str) -> None:
    document = yaml.load((HOME / pipeline).read_text(), Yaml12)

    jsonschema.validate(document, vendored_schema(schema))


@pytest.mark.parametrize("workflow", [".github/workflows/ci.yml", "docs/pipelines/github-workflow.yml"])
def test_an_action_is_pinned_by_its_commit(workflow: str) -> None:
    used = re.findall(r"uses: (.*)", (HOME / workflow).read_text())

    assert [action for action in used if not re.fullmatch(r"[\w/-]+@[0-9a-f]{40} # v[\d.]+", action)] == []


class Yaml12(yaml.SafeLoader):
    """Read `on` as text, as the services do."""


Yaml12.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in resolvers if tag != "tag:yaml.org,2002:bool" or first not in "oOyYnN"]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}

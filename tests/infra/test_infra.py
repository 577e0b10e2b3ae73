"""What `azd up` deploys, read from the templates; and what stands around them."""

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

from model_release import app as wiring
from tests import bicep, published_types
from tests.bicep import Bicep, Choice, Declared, Name, at, resolve

HOME = wiring.HOME
INFRA = HOME / "infra"
FILES = {path.relative_to(INFRA).as_posix(): bicep.read(path) for path in published_types.TEMPLATES}
PUBLISHED = json.loads(published_types.FILE.read_text())["types"]
APP = FILES["modules/app.bicep"]
STORAGE = FILES["modules/storage.bicep"]
MONITORING = FILES["modules/monitoring.bicep"]
TOPIC = FILES["modules/system-topic.bicep"]

# Ways to name storage that a deployment by these templates does not use.
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


def made(kind: str) -> list[tuple[Bicep, Any]]:
    """All declarations of a type that are not of existing resources, with their file."""
    return [
        (file, at(resource.value, file))
        for _, file, resource in resources()
        if resource.kind.partition("@")[0] == kind and not resource.existing
    ]


def only(kind: str, *path: str) -> Any:
    ((file, body),) = made(kind)
    return at(body, file, *path)


@pytest.mark.parametrize("name", FILES)
def test_each_file_describes_its_parameters_and_outputs_and_uses_only_what_it_declares(name: str) -> None:
    file = FILES[name]
    declared = [*file.parameters.values(), *file.outputs.values()]

    assert file.undeclared == frozenset()
    assert [one.name for one in declared if not one.description.endswith(".")] == []


def test_each_resource_is_of_a_published_type_and_sets_only_what_that_type_has() -> None:
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
def test_the_check_against_published_types_finds(change: dict[str, Any], fault: str) -> None:
    (found,) = published_types.faults(replace(APP.resources["site"], **change), APP, PUBLISHED)

    assert fault in found


def test_each_module_is_given_its_parameters_and_gives_what_is_asked_of_it() -> None:
    for file in FILES.values():
        text = file.path.read_text()
        for module in file.modules.values():
            inner = FILES[(file.path.parent / module.kind).relative_to(INFRA).as_posix()]
            given = set(at(module.value, file, "params"))
            needed = {one.name for one in inner.parameters.values() if one.value is None}

            assert needed <= given <= set(inner.parameters), module.name
            asked = set(re.findall(rf"\b{module.name}(?:\[\w+\])?!?\.outputs\.(\w+)", text))
            assert asked <= set(inner.outputs), module.name


def test_parameters_of_azd_are_those_of_the_template() -> None:
    given = json.loads((INFRA / "main.parameters.json").read_text())["parameters"]
    parameters = FILES["main.bicep"].parameters
    references = {name: one["value"] for name, one in given.items()}

    assert set(given) == set(parameters) - {"tags"}
    assert all(re.fullmatch(r"\$\{[A-Z_]+(=[\w.]*)?\}", reference) for reference in references.values())
    for name, reference in references.items():
        default = reference.partition("=")[2].rstrip("}")
        assert default in (parameters[name].value or "", str(parameters[name].value).lower()), name


def test_no_secret_leaves_the_templates() -> None:
    secret = re.compile("key|secret|token|password|connectionstring", re.IGNORECASE)

    for file in FILES.values():
        text = file.path.read_text()
        outputs = [line for line in text.splitlines() if line.startswith("output ")]
        assert [line for line in outputs if secret.search(line)] == []
        # listKeys() and its like fetch secrets.
        assert re.findall(r"\blist\w*\(", text) == []


def test_nothing_can_be_opened_with_a_key() -> None:
    storage = only("Microsoft.Storage/storageAccounts", "properties")
    publishing = made("Microsoft.Web/sites/basicPublishingCredentialsPolicies")

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


def test_only_https_with_tls_1_2_is_spoken() -> None:
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


def test_each_role_is_given_once_and_where_it_is_needed() -> None:
    given = {
        (bicep.value_text(body["scope"]), role_id(body, file), bicep.value_text(body["properties"]["principalId"]))
        for file, body in made("Microsoft.Authorization/roleAssignments")
    }
    app = "identity.properties.principalId"

    assert given == {
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


def test_the_custom_role_reads_models_and_nothing_else() -> None:
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


def test_azd_deploys_to_its_own_resource_group_only() -> None:
    # `azd down` deletes each resource group that its deployment touched: https://github.com/Azure/azure-dev/issues/2916
    main = FILES["main.bicep"]

    assert {at(module.value, main, "scope") for module in main.modules.values()} == {Name("group")}
    for module in main.modules.values():
        inner = FILES[module.kind]
        elsewhere = [
            one for one in inner.resources.values() if "resourceGroup(" in str(at(one.value, inner).get("scope"))
        ]
        assert all(one.existing for one in elsewhere)


def test_the_system_topic_is_made_for_its_workspace_unless_one_is_given() -> None:
    topic = TOPIC.resources["topic"]

    assert (topic.condition, TOPIC.resources["existingTopic"].existing) == ("(empty(existingTopicId))", True)
    assert at(topic.value, TOPIC, "properties") == {
        "source": Name("workspaceId"),
        "topicType": "Microsoft.MachineLearningServices.Workspaces",
    }
    assert at(topic.value, TOPIC, "identity", "type") == "SystemAssigned"


def test_the_event_subscription_delivers_one_registered_model_at_a_time_and_keeps_what_it_cannot_deliver() -> None:
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


def test_log_alerts_watch_refused_starts_old_claims_and_missing_catch_ups() -> None:
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
        "refused-start": ("Count", None, "GreaterThan", "0", "PT15M"),
        "open-claim": ("Maximum", "oldest_open_seconds", "GreaterThan", "3600", "PT15M"),
        "no-catch-up": ("Minimum", "workspaces", "LessThan", "workspaceCount", "PT2H"),
    }
    assert '"sweep"' in alerts["open-claim"]["query"].text
    assert '"catch-up" and tobool(line.complete)' in alerts["no-catch-up"]["query"].text
    assert 'decision == "refused"' in alerts["refused-start"]["query"].text


def test_queries_read_the_fields_of_the_log_lines() -> None:
    fields = {
        "event", "event_id", "workspace", "model", "version", "route", "target", "decision", "reason", "release_id",
        "attempt", "milliseconds", "listed", "released", "complete", "oldest_open_seconds",
    }  # fmt: skip
    text = MONITORING.path.read_text()

    assert set(re.findall(r"\bline\.(\w+)", text)) == fields


def test_alerts_reach_the_given_addresses() -> None:
    receiver = only("Microsoft.Insights/actionGroups", "properties", "emailReceivers")

    assert at(receiver, MONITORING)["emailAddress"] == Name("email")
    assert only("Microsoft.Insights/scheduledQueryRules", "properties", "actions") == {
        "actionGroups": Name("actionGroups")
    }


def test_settings_are_the_same_in_the_template_the_sample_the_code_and_the_readme() -> None:
    code = set(re.findall(r'"([A-Z][A-Z_]+[A-Z]|AzureWebJobs\w+)"', (HOME / "model_release/settings.py").read_text()))
    sample = set(json.loads((HOME / "local.settings.sample.json").read_text())["Values"])
    readme = (HOME / "README.md").read_text().partition("## Settings")[2].partition("\n## ")[0]
    listed = {
        name for row in re.findall(r"^\| (`.*?) \|", readme, re.MULTILINE) for name in re.findall(r"`(\w+)`", row)
    }
    described = set(re.findall(r"`([A-Z][A-Z_]+[A-Z]|AzureWebJobs\w+)`", readme))
    storage_by_identity = {name for name in code if name.startswith("AzureWebJobsStorage__")}

    assert template_settings() - PLATFORM == code - OTHER_STORAGE
    assert sample - {"FUNCTIONS_WORKER_RUNTIME"} == code - storage_by_identity
    assert listed == code - {"AzureWebJobsStorage__tableServiceUri"}
    assert described == code


def test_the_documentation_tells_each_variable_and_each_alert() -> None:
    document = (HOME / "docs/deploy.md").read_text()
    variables = variables_of_azd() - {"AZURE_ENV_NAME", "AZURE_LOCATION"}
    alerts = [one["name"] for one in (*TOPIC.variables["alerts"].value, *MONITORING.variables["logAlerts"].value)]

    assert {name for name in variables if f"`{name}`" not in document} == set()
    assert [name for name in alerts if f"| {name} |" not in document] == []


def test_the_github_workflow_gives_azd_each_variable_so_that_a_merge_undoes_none() -> None:
    workflow = yaml.load((HOME / "docs/pipelines/github-workflow.yml").read_text(), Yaml12)

    assert variables_of_azd() <= workflow["jobs"]["deploy"]["env"].keys()


def variables_of_azd() -> set[str]:
    return set(re.findall(r"\$\{([A-Z_]+)", (INFRA / "main.parameters.json").read_text()))


def template_settings() -> set[str]:
    parts = [resolve(part, APP) for part in only("Microsoft.Web/sites/config", "properties").options]
    options = [option for part in parts for option in (part.options if isinstance(part, Choice) else [part])]
    return {name for option in options for name in option}


def test_a_token_reaches_the_app_only_as_a_reference_to_key_vault() -> None:
    unused, used = APP.variables["tokenSettings"].value.options

    assert unused == {}
    assert used["AZURE_DEVOPS_PAT"].text.startswith("@Microsoft.KeyVault(")
    assert only("Microsoft.Web/sites", "properties", "keyVaultReferenceIdentity").text == "identity.id"


@pytest.fixture
def az(tmp_path: Path) -> Path:
    """Make a folder with an `az` that writes down what it is asked, and fails once for each line of `failures`."""
    script = tmp_path / "az"
    script.write_text(
        "#!/bin/sh\n"
        'cd "$(dirname "$0")"\n'
        "printf '%s\\n' \"$@\" >> asked; printf '\\036' >> asked\n"
        "[ -s failures ] || exit 0\n"
        "tail -n +2 failures > fewer; mv fewer failures; exit 1\n"
    )
    script.chmod(0o755)
    return tmp_path


def run(hook: str, az: Path, **environment: str) -> tuple[int, list[list[str]]]:
    """Run a hook as azd does; returns its exit code and what it asked of az."""
    outputs = {name: f"<{name}>" for name in FILES["main.bicep"].outputs}
    azd = {"AZURE_ENV_NAME": "prod", "AZURE_LOCATION": "westeurope", "AZURE_SUBSCRIPTION_ID": "<subscription>"}
    path = {"PATH": f"{az}{os.pathsep}{os.environ['PATH']}", "RETRY_SECONDS": "0"}
    command = ["sh", INFRA / "hooks" / hook]
    done = subprocess.run(command, env=azd | outputs | path | environment, capture_output=True, check=False, timeout=20)
    return done.returncode, [call.splitlines() for call in (az / "asked").read_text().split("\x1e")[:-1]]


@pytest.mark.parametrize(
    ("hook", "template"), [("postprovision", "grants.bicep"), ("postdeploy", "event-subscriptions.bicep")]
)
def test_a_hook_gives_its_template_exactly_its_parameters(hook: str, template: str, az: Path) -> None:
    code, (asked,) = run(f"{hook}.sh", az)
    given = dict(word.split("=", 1) for word in asked[asked.index("--parameters") + 1 :])
    windows = (INFRA / f"hooks/{hook}.ps1").read_text()

    assert code == 0
    assert asked[asked.index("--template-file") + 1] == str(INFRA / template)
    assert set(given) == set(re.findall(r"^ +(\w+) = ", windows, re.MULTILINE)) == set(FILES[template].parameters)
    assert f"Deploy '{template.removesuffix('.bicep')}'" in windows


def test_a_token_is_looked_for_again_when_the_app_may_read_it(az: Path) -> None:
    _, asked = run("postprovision.sh", az, AZURE_DEVOPS_PAT_SECRET="<secret>")

    assert "azureDevOpsPatSecret=<secret>" in asked[0]
    assert asked[1][-1].startswith("<FUNCTION_APP_ID>/config/configreferences/appsettings/refresh?")


@pytest.mark.parametrize(("failures", "code", "tries"), [(2, 0, 3), (9, 1, 5)])
def test_the_event_subscription_is_tried_five_times(failures: int, code: int, tries: int, az: Path) -> None:
    (az / "failures").write_text("again\n" * failures)

    done, asked = run("postdeploy.sh", az)

    assert (done, len(asked)) == (code, tries)


def test_azd_runs_the_hooks_that_are_there() -> None:
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
        ("azure-pipelines.yml", "azure-pipelines.json"),
        ("deploy-model.yml", "azure-pipelines.json"),
        ("release-step.yml", "azure-pipelines.json"),
        ("github-workflow.yml", "github-workflows.json"),
    ],
)
def test_the_example_pipelines_keep_to_the_published_schema(pipeline: str, schema: str) -> None:
    document = yaml.load((HOME / "docs/pipelines" / pipeline).read_text(), Yaml12)

    jsonschema.validate(document, vendored_schema(schema))


class Yaml12(yaml.SafeLoader):
    """Reads `on` as a word, as the services do."""


Yaml12.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in resolvers if tag != "tag:yaml.org,2002:bool" or first not in "oOyYnN"]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}

"""What the templates deploy: the committed predictions of Bicep, and the compiled templates."""

import json
import re
from typing import Any

import pytest

from tests.infra.templates import INFRA, SNAPSHOTS, compiled, only, outputs, predicted, template_resources

HERE = "/subscriptions/11111111-1111-1111-1111-111111111111"
# Properties of siteConfig that Flex Consumption accepted. Others, such as ftpsState, are refused with 400, code 51021:
# https://github.com/Azure/azure-cli/issues/31414, https://github.com/microsoft/azure-pipelines-tasks/issues/21032,
# https://github.com/Azure/terraform-azurerm-avm-res-web-site/issues/360
_PROVIDER = (
    "https://github.com/hashicorp/terraform-provider-azurerm/blob/02497f1b3b4af96945376265766ed0633bcd27d6"
    "/internal/services/appservice/"
)
_COMPLETE = f"{_PROVIDER}function_app_flex_consumption_resource_test.go, completeFourPointOh, created in Azure"
_DEFAULT = f"{_PROVIDER}helpers/function_app_schema.go, a default that each of these created apps was sent"
ACCEPTED_ON_FLEX = {
    "http20Enabled": _COMPLETE,
    "minTlsVersion": _COMPLETE,
    "scmMinTlsVersion": _COMPLETE,
    "ipSecurityRestrictions": _COMPLETE,
    "ipSecurityRestrictionsDefaultAction": _DEFAULT,
    "scmIpSecurityRestrictions": _COMPLETE,
    "scmIpSecurityRestrictionsDefaultAction": _DEFAULT,
}


@pytest.mark.parametrize("snapshot", SNAPSHOTS)
def test_each_id_and_name_is_known_before_anything_is_deployed(snapshot: str) -> None:
    resources = predicted(snapshot)
    unknown = [one for one in resources if "[" in f"{one.get('id')}{one['name']}"]

    assert len(resources) > 10
    assert unknown == []
    assert len({one["id"].lower() for one in resources}) == len(resources)


@pytest.mark.parametrize("snapshot", SNAPSHOTS)
def test_names_in_outputs_and_settings_are_known_before_anything_is_deployed(snapshot: str) -> None:
    unknown = {name for name, value in outputs(snapshot).items() if "[reference(" in json.dumps(value)}
    settings = only("Microsoft.Web/sites/config", snapshot)["properties"]
    site = only("Microsoft.Web/sites", snapshot)

    assert unknown == {"FUNCTION_APP_URL", "IDENTITY_PRINCIPAL_ID"}
    assert {name for name, value in settings.items() if value.startswith("[reference(")} == {
        "APPLICATIONINSIGHTS_CONNECTION_STRING",
        "AzureWebJobsStorage__blobServiceUri",
        "AzureWebJobsStorage__clientId",
        "AzureWebJobsStorage__tableServiceUri",
    } | ({"OUTCOME_TOPIC_ENDPOINT"} if snapshot == "everything" else set())
    created = [one["id"] for one in predicted(snapshot, "Microsoft.ManagedIdentity/userAssignedIdentities")]
    existing = [
        f"{HERE}/resourceGroups/identities/providers/Microsoft.ManagedIdentity/userAssignedIdentities/model-release"
    ]
    assert list(site["identity"]["userAssignedIdentities"]) == (created or existing)


def test_alerts_are_sent_to_the_configured_addresses() -> None:
    group = only("Microsoft.Insights/actionGroups", "two-workspaces")
    alerts = predicted("two-workspaces", "Microsoft.Insights/metricAlerts")
    rules = predicted("two-workspaces", "Microsoft.Insights/scheduledQueryRules")

    assert [one["emailAddress"] for one in group["properties"]["emailReceivers"]] == ["team@contoso.com"]
    assert (len(alerts), len(rules)) == (6, 6)
    for alert in alerts:
        assert alert["properties"]["actions"] == [{"actionGroupId": group["id"]}]
    for rule in rules:
        assert rule["properties"]["actions"] == {"actionGroups": [group["id"]]}
    for alert in predicted("plain", "Microsoft.Insights/metricAlerts"):
        assert alert["properties"]["actions"] == []


def test_each_property_of_the_site_configuration_is_accepted_on_flex_consumption() -> None:
    for template in compiled("main"), compiled("event-subscriptions"):
        for resource in template_resources(template):
            if resource["type"] == "Microsoft.Web/sites" and not resource.get("existing"):
                assert resource["properties"]["siteConfig"].keys() <= ACCEPTED_ON_FLEX.keys()
    assert only("Microsoft.Web/sites")["properties"]["siteConfig"].keys() == ACCEPTED_ON_FLEX.keys()


def test_a_saved_query_can_be_deployed_a_second_time() -> None:
    # Without the etag, the second PUT answers 409: https://github.com/Azure/bicep-types-az/issues/1548
    for snapshot in SNAPSHOTS:
        queries = predicted(snapshot, "Microsoft.OperationalInsights/workspaces/savedSearches")
        assert [one["properties"]["etag"] for one in queries] == ["*"] * (0 if snapshot == "existing" else 6)


def test_no_deployment_has_a_name_that_another_one_may_have() -> None:
    # In a subscription, Azure binds the name of a deployment to its region.
    for template in compiled("main"), compiled("event-subscriptions"):
        modules = [one for one in template["resources"].values() if one["type"] == "Microsoft.Resources/deployments"]
        assert modules
        assert [one["name"] for one in modules if "uniqueString" not in one["name"]] == []


def test_restricted_access_without_an_operator_is_refused() -> None:
    allowed = compiled("main")["variables"]["operatorRanges"]

    assert re.match(r"\[if\(and\(parameters\('restrictAccess'\), empty\(variables\('operators'\)\)\), fail\(", allowed)
    assert "set OPERATOR_ADDRESSES to your address ranges" in allowed


def test_access_can_be_restricted_to_event_grid_and_the_operators() -> None:
    def rules(snapshot: str, name: str) -> list[tuple[str, str]]:
        config = only("Microsoft.Web/sites", snapshot)["properties"]["siteConfig"]
        return [(one["action"], one["ipAddress"]) for one in config[name]]

    operators = [("Allow", "203.0.113.0/24"), ("Allow", "198.51.100.7/32")]
    assert rules("restricted", "ipSecurityRestrictions") == [("Allow", "AzureEventGrid"), *operators]
    assert rules("restricted", "scmIpSecurityRestrictions") == operators
    assert rules("plain", "ipSecurityRestrictions") == rules("plain", "scmIpSecurityRestrictions") == []
    for snapshot, action in (("restricted", "Deny"), ("plain", "Allow")):
        config = only("Microsoft.Web/sites", snapshot)["properties"]["siteConfig"]
        assert config["ipSecurityRestrictionsDefaultAction"] == action
        assert config["scmIpSecurityRestrictionsDefaultAction"] == action


def test_no_resource_accepts_a_key() -> None:
    storage = only("Microsoft.Storage/storageAccounts")["properties"]
    publishing = predicted("plain", "Microsoft.Web/sites/basicPublishingCredentialsPolicies")
    deployment = only("Microsoft.Web/sites")["properties"]["functionAppConfig"]["deployment"]

    assert (storage["allowSharedKeyAccess"], storage["allowBlobPublicAccess"]) == (False, False)
    assert only("Microsoft.Insights/components")["properties"]["DisableLocalAuth"] is True
    assert only("Microsoft.OperationalInsights/workspaces")["properties"]["features"] == {"disableLocalAuth": True}
    assert only("Microsoft.EventGrid/topics")["properties"]["disableLocalAuth"] is True
    assert {one["name"].rpartition("/")[2]: one["properties"]["allow"] for one in publishing} == {
        "ftp": False,
        "scm": False,
    }
    assert deployment["storage"]["authentication"]["type"] == "UserAssignedIdentity"


def test_every_endpoint_requires_https_with_tls_1_2() -> None:
    storage = only("Microsoft.Storage/storageAccounts")["properties"]
    site = only("Microsoft.Web/sites")["properties"]

    assert (storage["supportsHttpsTrafficOnly"], storage["minimumTlsVersion"]) == (True, "TLS1_2")
    assert (site["httpsOnly"], site["siteConfig"]["minTlsVersion"]) == (True, "1.2")
    assert site["siteConfig"]["scmMinTlsVersion"] == "1.2"
    assert only("Microsoft.EventGrid/topics")["properties"]["minimumTlsVersionAllowed"] == "1.2"


def test_the_app_runs_the_chosen_python_on_flex_consumption() -> None:
    assert only("Microsoft.Web/serverfarms")["sku"] == {"name": "FC1", "tier": "FlexConsumption"}
    for snapshot, version, memory in (("plain", "3.13", 2048), ("everything", "3.14", 4096)):
        config = only("Microsoft.Web/sites", snapshot)["properties"]["functionAppConfig"]
        assert config["runtime"] == {"name": "python", "version": version}
        assert config["scaleAndConcurrency"]["instanceMemoryMB"] == memory


def test_instances_that_are_always_ready_are_those_of_the_event_trigger() -> None:
    def always_ready(snapshot: str) -> Any:
        config = only("Microsoft.Web/sites", snapshot)["properties"]["functionAppConfig"]
        return config["scaleAndConcurrency"]["alwaysReady"]

    assert always_ready("plain") == []
    assert always_ready("everything") == [{"name": "function:model_registered", "instanceCount": 1}]


def test_a_role_is_assigned_once_and_at_the_narrowest_scope() -> None:
    group, ml = f"{HERE}/resourceGroups/models/providers", f"{HERE}/resourceGroups/ml/providers"
    names = {one["type"]: one["name"] for one in predicted("everything")}
    storage = f"{group}/Microsoft.Storage/storageAccounts/{names['Microsoft.Storage/storageAccounts']}"
    dead_letters = f"{storage}/blobServices/default/containers/dead-letters"
    insights = f"{group}/Microsoft.Insights/components/{names['Microsoft.Insights/components']}"
    topic = f"{group}/Microsoft.EventGrid/topics/{names['Microsoft.EventGrid/topics']}"
    secret = f"{HERE}/resourceGroups/secrets/providers/Microsoft.KeyVault/vaults/contoso/secrets/azure-devops"
    workspaces = f"{ml}/Microsoft.MachineLearningServices/workspaces"
    reader = only("Microsoft.Authorization/roleDefinitions")["name"]
    assigned = sorted(
        (
            one["id"].partition("/providers/Microsoft.Authorization/roleAssignments")[0],
            one["properties"]["roleDefinitionId"].rpartition("/")[2],
        )
        for one in predicted("everything", "Microsoft.Authorization/roleAssignments")
    )

    assert assigned == sorted(
        [
            (storage, "b7e6dc6d-f1e8-4753-8033-0f276bb0955b"),  # Storage Blob Data Owner
            (storage, "0a9a7e1f-b9d0-4cc4-a60d-0319b160aaa3"),  # Storage Table Data Contributor
            (insights, "3913510d-42f4-4e42-8a64-420c390055eb"),  # Monitoring Metrics Publisher
            (topic, "d5a91429-5739-47e2-a06b-3470a27159e7"),  # EventGrid Data Sender
            (secret, "4633458b-17de-408a-b874-0445c86b69e6"),  # Key Vault Secrets User
            (f"{workspaces}/prod", reader),
            (f"{workspaces}/test", reader),
            (f"{HERE}/resourceGroups/shared/providers/Microsoft.MachineLearningServices/registries/contoso", reader),
            (dead_letters, "ba92f5b4-2d11-453d-a403-e96b0029c9fe"),  # Storage Blob Data Contributor, a topic each
            (dead_letters, "ba92f5b4-2d11-453d-a403-e96b0029c9fe"),
        ]
    )


def test_the_custom_role_only_reads_models_and_is_defined_in_the_subscription_of_each_workspace() -> None:
    roles = predicted("two-workspaces", "Microsoft.Authorization/roleDefinitions")

    assert [role["properties"]["assignableScopes"] for role in roles] == [
        ["/subscriptions/11111111-1111-1111-1111-111111111111"],
        ["/subscriptions/33333333-3333-3333-3333-333333333333"],
    ]
    assert len({role["properties"]["roleName"] for role in roles}) == 2
    for role in roles:
        (permission,) = role["properties"]["permissions"]
        assert permission == {
            "actions": [
                "Microsoft.MachineLearningServices/workspaces/read",
                "Microsoft.MachineLearningServices/workspaces/models/read",
                "Microsoft.MachineLearningServices/workspaces/models/versions/read",
                "Microsoft.MachineLearningServices/registries/read",
                "Microsoft.MachineLearningServices/registries/assets/read",
            ],
            "notActions": [],
            "dataActions": [],
            "notDataActions": [],
        }


def test_a_system_topic_is_created_in_the_subscription_of_its_workspace_unless_one_exists() -> None:
    topics = predicted("two-workspaces", "Microsoft.EventGrid/systemTopics")
    (created,) = predicted("everything", "Microsoft.EventGrid/systemTopics")

    assert [topic["id"].split("/")[2:5:2] for topic in topics] == [
        ["11111111-1111-1111-1111-111111111111", "ml"],
        ["33333333-3333-3333-3333-333333333333", "research"],
    ]
    assert [topic["id"] for topic in topics] == outputs("two-workspaces")["SYSTEM_TOPIC_IDS"]
    assert outputs("everything")["SYSTEM_TOPIC_IDS"] == [
        created["id"],
        f"{HERE}/resourceGroups/ml/providers/Microsoft.EventGrid/systemTopics/test",
    ]
    assert {topic["identity"]["type"] for topic in topics} == {"SystemAssigned"}
    assert {topic["properties"]["topicType"] for topic in topics} == {"Microsoft.MachineLearningServices.Workspaces"}


def test_the_app_gets_its_settings_after_its_rights() -> None:
    app = compiled("main")["resources"]["app"]

    assert {"secretRole", "workspaceRoles"} <= set(app["dependsOn"])


def test_the_event_subscription_delivers_one_registered_model_at_a_time_and_stores_dead_letters() -> None:
    (subscription,) = (
        one["properties"]
        for one in template_resources(compiled("event-subscriptions"))
        if one["type"] == "Microsoft.EventGrid/systemTopics/eventSubscriptions"
    )
    destination, dead_letter = subscription["destination"], subscription["deadLetterWithResourceIdentity"]

    assert destination["endpointType"] == "AzureFunction"
    assert "'Microsoft.Web/sites/functions'" in destination["properties"]["resourceId"]
    assert "'model_registered')" in destination["properties"]["resourceId"]
    assert destination["properties"]["maxEventsPerBatch"] == 1
    assert subscription["filter"] == {"includedEventTypes": ["Microsoft.MachineLearningServices.ModelRegistered"]}
    assert subscription["retryPolicy"] == {"maxDeliveryAttempts": 30, "eventTimeToLiveInMinutes": 1440}
    assert dead_letter["identity"] == {"type": "SystemAssigned"}
    assert dead_letter["deadLetterDestination"]["endpointType"] == "StorageBlob"
    assert "deadLetterDestination" not in subscription


def test_metric_alerts_watch_dead_letters_dropped_events_and_failed_deliveries() -> None:
    alerts = predicted("plain", "Microsoft.Insights/metricAlerts")
    watched = {one["properties"]["criteria"]["allOf"][0]["metricName"]: one["properties"] for one in alerts}

    assert {name: (one["criteria"]["allOf"][0]["threshold"], one["windowSize"]) for name, one in watched.items()} == {
        "DeadLetteredCount": (0, "PT5M"),
        "DroppedEventCount": (0, "PT5M"),
        "DeliveryAttemptFailCount": (5, "PT15M"),
    }
    for one in watched.values():
        criteria = one["criteria"]["allOf"][0]
        assert (criteria["operator"], criteria["timeAggregation"]) == ("GreaterThan", "Total")
        assert criteria["metricNamespace"] == "Microsoft.EventGrid/systemTopics"
        assert one["scopes"] == outputs("plain")["SYSTEM_TOPIC_IDS"]


def test_the_app_gets_a_token_only_as_a_key_vault_reference() -> None:
    settings = only("Microsoft.Web/sites/config", "restricted")["properties"]
    site = only("Microsoft.Web/sites", "restricted")["properties"]

    assert settings["AZURE_DEVOPS_PAT"] == "@Microsoft.KeyVault(VaultName=contoso;SecretName=azure-devops)"
    assert (
        site["keyVaultReferenceIdentity"]
        == only("Microsoft.ManagedIdentity/userAssignedIdentities", "restricted")["id"]
    )
    assert "AZURE_DEVOPS_PAT" not in only("Microsoft.Web/sites/config", "plain")["properties"]


def test_the_templates_read_and_output_no_secret() -> None:
    secret = re.compile("key|secret|token|password", re.IGNORECASE)

    def named(template: Any) -> list[str]:
        modules = [one for one in template_resources(template) if one["type"] == "Microsoft.Resources/deployments"]
        templates = [template, *(one["properties"]["template"] for one in modules)]
        return [name for one in templates for name in one.get("outputs", {})]

    for name in ("main", "event-subscriptions"):
        assert [output for output in named(compiled(name)) if secret.search(output)] == []
        # Functions such as listKeys() read secrets.
        assert re.findall(r"\blist[A-Z]\w*\(", json.dumps(compiled(name))) == []


@pytest.mark.parametrize("template", ["main", "event-subscriptions"])
def test_a_template_describes_its_parameters_and_outputs(template: str) -> None:
    content = compiled(template)
    described = {**content["parameters"], **content.get("outputs", {})}

    assert [name for name, one in described.items() if not one["metadata"]["description"].endswith(".")] == []


def test_azd_passes_the_parameters_of_the_template() -> None:
    passed = json.loads((INFRA / "main.parameters.json").read_text())["parameters"]
    parameters = compiled("main")["parameters"]
    references = {name: one["value"] for name, one in passed.items()}

    assert set(passed) == set(parameters)
    for name, reference in references.items():
        assert re.fullmatch(r"\$\{[A-Z_]+(=[\w./]*)?\}", reference)
        default = reference.partition("=")[2].rstrip("}")
        own = str(parameters[name].get("defaultValue", ""))
        assert default == own.replace("False", "false").replace("True", "true"), name


def test_what_exists_is_neither_created_nor_changed_and_gets_no_role() -> None:
    kinds = {one["type"] for one in predicted("existing")}

    assert kinds == {
        "Microsoft.Insights/metricAlerts",
        "Microsoft.Insights/scheduledQueryRules",
        "Microsoft.Storage/storageAccounts/blobServices/containers",
        "Microsoft.Web/sites",
        "Microsoft.Web/sites/basicPublishingCredentialsPolicies",
        "Microsoft.Web/sites/config",
    }
    for rule in predicted("existing", "Microsoft.Insights/scheduledQueryRules"):
        assert rule["properties"]["actions"] == {
            "actionGroups": [f"{HERE}/resourceGroups/logs/providers/Microsoft.Insights/actionGroups/contoso"]
        }


def test_with_existing_resources_everything_is_deployed_to_the_group_of_the_app() -> None:
    # A nested deployment, even one that only reads, needs a right on its group.
    scopes = {one["id"].split("/providers/")[0] for one in predicted("existing")}
    compiled_topics = compiled("main")["resources"]["systemTopics"]
    (topic,) = outputs("existing")["SYSTEM_TOPIC_IDS"]

    assert scopes == {f"{HERE}/resourceGroups/models"}
    assert "/resourceGroups/topics/" in topic
    assert compiled_topics["resourceGroup"] == "[variables('topics')[copyIndex()].groupParts[4]]"
    assert re.search(
        r"'groupParts', if\(and\(.*not\(empty\(variables\('topicIds'\)", compiled("main")["variables"]["topics"]
    )


def test_without_roles_nothing_is_deployed_to_a_subscription() -> None:
    resources = compiled("main")["resources"]
    # A module in another group names it; a module in a subscription does not.
    subscribed = {name for name, one in resources.items() if "subscriptionId" in one and "resourceGroup" not in one}

    assert "/deploymentTemplate.json" in compiled("main")["$schema"]
    assert subscribed == {"modelReaders"}
    assert resources["modelReaders"]["condition"] == "[variables('assigned')]"


def test_roles_of_another_team_need_an_existing_identity() -> None:
    assigned = compiled("main")["variables"]["assigned"]

    assert re.match(
        r"\[if\(and\(not\(parameters\('assignRoles'\)\), empty\(parameters\('existingIdentity'\)\)\), fail\(", assigned
    )
    assert "set EXISTING_IDENTITY" in assigned


def test_deleting_the_group_of_one_environment_leaves_the_events_of_the_other() -> None:
    (topic,) = predicted("plain", "Microsoft.EventGrid/systemTopics")

    # `azd down` deletes the resource group of the app.
    assert "/resourceGroups/ml/" in topic["id"]
    assert predicted("second", "Microsoft.EventGrid/systemTopics") == []
    assert outputs("second")["SYSTEM_TOPIC_IDS"] == outputs("plain")["SYSTEM_TOPIC_IDS"] == [topic["id"]]
    own = [
        {one["id"] for one in predicted(snapshot) if "/resourceGroups/models/" in one["id"]}
        for snapshot in ("plain", "second")
    ]
    assert own[0] & own[1] == set()


def test_a_private_app_leaves_no_public_endpoint_but_those_that_the_document_names() -> None:
    storage = only("Microsoft.Storage/storageAccounts", "private")["properties"]
    site = only("Microsoft.Web/sites", "private")["properties"]
    public = {
        one["type"] for one in predicted("private") if one.get("properties", {}).get("publicNetworkAccess") == "Enabled"
    }

    assert storage["networkAcls"] == {"bypass": "AzureServices", "defaultAction": "Deny"}
    assert public == {"Microsoft.Storage/storageAccounts", "Microsoft.Web/sites"}
    assert site["siteConfig"]["ipSecurityRestrictionsDefaultAction"] == "Deny"
    assert site["virtualNetworkSubnetId"].endswith("/subnets/app")
    connections = [
        connection["properties"]
        for one in predicted("private", "Microsoft.Network/privateEndpoints")
        for connection in one["properties"]["privateLinkServiceConnections"]
    ]
    assert sorted((one["privateLinkServiceId"].rsplit("/", 1)[1][:2], one["groupIds"]) for one in connections) == [
        ("co", ["vault"]),
        ("st", ["blob"]),
        ("st", ["table"]),
    ]
    document = (INFRA.parent / "docs/deploy.md").read_text()
    for name in ("the Function App", "trusted services", "Application Insights"):
        assert name in document


def test_each_resource_that_can_have_tags_has_those_of_the_team() -> None:
    tags = {json.dumps(one["tags"], sort_keys=True) for one in predicted("everything") if "tags" in one}

    assert all({"team": "models", "cost center": "42"}.items() <= json.loads(one).items() for one in tags)
    assert len(tags) == 2  # azd finds the app by one more tag


def test_the_records_can_be_kept_redundant_locked_and_logged() -> None:
    assert only("Microsoft.Storage/storageAccounts", "durable")["sku"] == {"name": "Standard_ZRS"}
    assert only("Microsoft.Authorization/locks", "durable")["properties"]["level"] == "CanNotDelete"
    log = only("Microsoft.Insights/diagnosticSettings", "durable")["properties"]["logs"]
    assert {one["category"] for one in log if one["enabled"]} == {"StorageWrite", "StorageDelete"}
    blobs = only("Microsoft.Storage/storageAccounts/blobServices", "plain")["properties"]
    assert blobs["deleteRetentionPolicy"] == blobs["containerDeleteRetentionPolicy"] == {"enabled": True, "days": 7}
    assert predicted("plain", "Microsoft.Authorization/locks") == []
    assert predicted("plain", "Microsoft.Insights/diagnosticSettings") == []


def test_one_snapshot_has_every_parameter_away_from_its_default() -> None:
    written = (INFRA / "snapshots/everything.bicepparam").read_text()
    given = set(re.findall(r"^param (\w+) =", written, re.MULTILINE))
    others = {
        "assignRoles",
        "existingApplicationInsights",
        "existingActionGroup",
        "existingIdentity",
        "existingLogAnalytics",
        "existingPlan",
        "existingStorage",
        "virtualNetworkSubnet",
    }
    elsewhere = "".join((INFRA / f"snapshots/{name}.bicepparam").read_text() for name in ("existing", "restricted"))

    assert given == set(compiled("main")["parameters"]) - others
    assert [name for name in others if f"param {name} =" not in elsewhere] == []


@pytest.mark.parametrize(("name", "sources", "window"), [("plain", 1, "PT30M"), ("everything", 3, "PT4H")])
def test_the_alert_of_the_catch_up_counts_all_sources_and_follows_its_schedule(
    name: str, sources: int, window: str
) -> None:
    rules = predicted(name, "Microsoft.Insights/scheduledQueryRules")
    (rule,) = [one["properties"] for one in rules if one["name"].endswith("no-catch-up")]

    assert rule["windowSize"] == window
    assert rule["criteria"]["allOf"][0]["threshold"] == sources
    assert only("Microsoft.Web/sites/config", name)["properties"]["CATCH_UP_SCHEDULE"] == (
        "0 7 * * * *" if name == "everything" else "0 */5 * * * *"
    )

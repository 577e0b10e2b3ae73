"""The local Azure DevOps on a server, and its answers compared with Microsoft's description of the REST API."""

from dataclasses import dataclass
from typing import Any

import requests
from azure.devops.released.pipelines import PipelinesClient, RunPipelineParameters
from azure.devops.released.release import ReleaseClient
from azure.devops.v7_0.pipelines.models import RepositoryResourceParameters, RunResourcesParameters
from azure.devops.v7_0.release.models import ReleaseStartMetadata
from jsonschema import Draft202012Validator
from msrest.authentication import BasicAuthentication

from local.azure_devops import AzureDevOps
from tests import azure_devops_types

SIGN_IN = ("", "a token")
MODEL = {"modelName": "churn", "modelVersion": "3"}


@dataclass
class ServedAzureDevOps:
    azure_devops: AzureDevOps
    url: str

    def client(self, kind: Any = ReleaseClient) -> Any:
        client = kind(base_url=f"{self.url}/contoso", creds=BasicAuthentication(*SIGN_IN))
        client.config.retry_policy.retries = 0
        return client

    def create(self, **request: Any) -> Any:
        return self.client().create_release(ReleaseStartMetadata(definition_id=1, **request), "fraud")

    def run(self, pipeline: int = 1, branch: str = "", parameters: dict[str, Any] = MODEL, **more: Any) -> Any:
        self_repository = {"self": RepositoryResourceParameters(ref_name=branch)}
        resources = RunResourcesParameters(repositories=self_repository) if branch else None
        request = RunPipelineParameters(template_parameters=parameters, resources=resources, **more)
        return self.client(PipelinesClient).run_pipeline(request, "growth", pipeline)

    def post(self, request: Any) -> requests.Response:
        url = f"{self.url}/contoso/fraud/_apis/release/releases"
        return requests.post(url, json=request, auth=SIGN_IN, timeout=5)

    def put(self, definition: Any) -> requests.Response:
        url = f"{self.url}/contoso/fraud/_apis/release/definitions"
        return requests.put(url, json=definition, auth=SIGN_IN, timeout=5)

    def get(self, path: str, **query: Any) -> requests.Response:
        return requests.get(f"{self.url}/contoso/{path}", params=query, auth=SIGN_IN, timeout=5)


def types() -> dict[str, Any]:
    """Return JSON schemas of the described types, in which an unknown property is a fault."""
    types = azure_devops_types.types()
    # Recorded answers show the JSON of these; the description shows the .NET classes.
    types["ReferenceLinks"] = {"additionalProperties": {"required": ["href"]}}
    types["PropertiesCollection"] = {"additionalProperties": {"required": ["$type", "$value"]}}
    types["Run"]["properties"]["templateParameters"] = {"additionalProperties": {"type": "string"}}
    # Azure DevOps sends these, and the SDK knows most of them, but the description does not.
    types["PipelineConfiguration"]["properties"] |= {"path": {"type": "string"}, "repository": {"type": "object"}}
    types["Artifact"]["properties"]["sourceId"] = {"type": "string"}
    types["ArtifactVersion"]["properties"]["sourceId"] = {"type": "string"}
    types["ReleaseDefinition"]["properties"]["isDisabled"] = {"type": "boolean"}
    types["ConfigurationVariableValue"]["properties"]["value"]["type"] = ["string", "null"]
    # A single definition names its project in its address only.
    del types["ReleaseDefinitionShallowReference"]["properties"]["projectReference"]["$ref"]
    types["ReleaseTriggerBase"]["properties"] |= types["ArtifactSourceTrigger"]["properties"]
    for each in types.values():
        if "properties" in each:
            each["unevaluatedProperties"] = False
    # A base type forbids the properties of the types that extend it.
    for each in types.values():
        for base in each.get("allOf", ()):
            parent = types[base.pop("$ref").rpartition("/")[2]]
            base["properties"] = {**parent["properties"]}
    return types


def validator(name: str) -> Draft202012Validator:
    return Draft202012Validator({"$ref": f"#/definitions/{name}", "definitions": types()})


def faults_of(name: str, answer: requests.Response) -> list[str]:
    """Return what in an answer, or in the items of a list, does not have the described type."""
    values = answer.json().get("value", [answer.json()])
    return [f"{fault.json_path}: {fault.message}" for value in values for fault in validator(name).iter_errors(value)]

"""Plans for the sample definition and the sample pipeline, and a client that creates what they plan."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from datetime import datetime
from types import SimpleNamespace
from typing import Any

from model_release.azure_devops.client import AzureDevOps
from model_release.azure_devops.session import EntraSignIn, PatSignIn
from model_release.domain.events import parse
from model_release.domain.targets import Created, Plan, ReleasePlan, RunPlan, Target
from tests.environment import Environment, event

MARKER = "[model-release 0]"


def release_plan(definition: int | str = "Deploy sklearn model", **changes: Any) -> ReleasePlan:
    plan = ReleasePlan(
        target=Target("fraud", definition),
        route="a route",
        newest_only=True,
        variables={},
        passes_version=False,
        manual_stages=(),
        description="about it",
    )
    return dataclasses.replace(plan, **changes)


def run_plan(pipeline: int | str = "Deploy sklearn model", **changes: Any) -> RunPlan:
    plan = RunPlan(
        target=Target("fraud", pipeline, "pipeline"),
        route="a route",
        newest_only=True,
        branch="",
        parameters={"modelName": "sklearn_regression_model", "modelVersion": "20"},
        stages_to_skip=(),
    )
    return dataclasses.replace(plan, **changes)


PLAN = {"release": release_plan, "pipeline": run_plan}


def client(env: Environment, sign_in: Any = None, *, timeout: float = 10, **options: Any) -> AzureDevOps:
    url = f"{env.azure_devops_url}/contoso"
    return AzureDevOps(url, sign_in or PatSignIn("a token"), timeout=timeout, **options)


def entra_sign_in(get_token: Callable[[str], Any]) -> EntraSignIn:
    return EntraSignIn(SimpleNamespace(get_token=get_token))


def create(azure_devops: Environment | AzureDevOps, plan: Plan, *, deadline: float = math.inf, **data: Any) -> Created:
    if isinstance(azure_devops, Environment):
        azure_devops = client(azure_devops)
    return azure_devops.create(plan, parse(event(**data)), MARKER, deadline)


def find_by_marker(
    azure_devops: AzureDevOps, plan: Plan, since: datetime, deadline: float = math.inf
) -> Created | None:
    definition_id = azure_devops.identify(plan.target).definition
    return azure_devops.find_by_marker(plan.target, definition_id, MARKER, since, deadline)

"""The house: which file may know which, and that the shipped files agree with each other."""

import ast
import json
import re
from pathlib import Path

import pytest
import yaml

from model_release import wiring
from model_release.events import parse
from model_release.release_map import Route
from tests.world import World, event

HOME = wiring.HOME
# Each floor may import from the floors below it, and from its own.
FLOORS = [
    ["function_app", "model_release.__main__"],
    ["model_release.commands"],
    ["triggers"],
    ["model_release.wiring"],
    ["model_release.catch_up", "model_release.health", "model_release.pages", "model_release.views"],
    ["model_release.check_azure_devops", "model_release.check_permissions", "model_release.check_subscription"],
    ["model_release.start_release", "model_release.check", "model_release.explain"],
    ["model_release.azure_devops_definitions"],
    ["model_release.ledger", "model_release.azure_devops", "model_release.azure_ml"],
    ["model_release.event_subscriptions"],
    ["model_release.azure_resource_manager"],
    ["model_release.history", "model_release.release_target", "model_release.pipeline_target"],
    ["model_release.migrate"],
    ["model_release.decision_log", "model_release.definition_parts", "model_release.outcomes", "model_release.tracing"],
    [
        "model_release.claim",
        "model_release.release_request",
        "model_release.pipeline_request",
        "model_release.target_name",
        "model_release.azure_devops_sdk",
        "model_release.table",
    ],
    ["model_release.release_map", "model_release.settings"],
    ["model_release.events"],
    ["model_release.errors"],
]
PRODUCT = [HOME / "function_app.py", *HOME.glob("triggers/*.py"), *HOME.glob("model_release/**/*.py")]


def imports(path: Path) -> set[str]:
    names = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names |= {node.module} | {f"{node.module}.{alias.name}" for alias in node.names}
    return names


def floor(module: str) -> int | None:
    for number, modules in enumerate(FLOORS):
        if any(module == name or module.startswith(f"{name}.") for name in modules):
            return number
    return None


def module(path: Path) -> str:
    return ".".join(path.relative_to(HOME).with_suffix("").parts).removesuffix(".__init__")


@pytest.mark.parametrize("path", PRODUCT, ids=module)
def test_imports_run_one_way(path: Path) -> None:
    own = floor(module(path))
    if own is None:
        assert module(path) == "model_release"
        return

    upward = {name for name in imports(path) if (theirs := floor(name)) is not None and theirs < own}

    assert upward == set()


@pytest.mark.parametrize("path", PRODUCT, ids=module)
def test_only_triggers_know_azure_functions_and_only_wiring_reads_the_environment(path: Path) -> None:
    found = imports(path)

    if not module(path).startswith(("triggers", "function_app")):
        assert not {name for name in found if name.startswith("azure.functions")}
    if module(path) not in (
        "model_release.wiring",
        "model_release.azure_devops_sdk",
        "model_release.commands.terminal",
    ):
        assert "os" not in found
    assert not {name for name in found if name.startswith(("local", "tests"))}


def test_the_sample_settings_suffice_to_start() -> None:
    values = json.loads((HOME / "local.settings.sample.json").read_text())["Values"]

    assert wiring.build(values).start_release.release_map.routes


def test_the_map_in_the_readme_is_the_sample_map() -> None:
    (shown,) = re.findall(r"```yaml\n(version: 1.*?)```", (HOME / "README.md").read_text(), re.DOTALL)

    assert shown in (HOME / "release_map.yaml").read_text()


def test_every_file_that_the_readme_links_to_is_there() -> None:
    for document in [HOME / "README.md", *HOME.glob("docs/**/*.md")]:
        for link in re.findall(r"\]\((?!https?:|#)([^)#]+)", document.read_text()):
            assert (document.parent / link).exists(), f"{document.name}: {link}"


def test_the_example_pipeline_runs_with_what_a_route_passes_when_nothing_is_said(world: World) -> None:
    example = yaml.safe_load((HOME / "docs/pipelines/deploy-model.yml").read_text())
    declared = {parameter["name"]: parameter.get("default") for parameter in example["parameters"]}
    route = re.search(r"#   - model: .*\n#     pipeline: .*", (HOME / "docs/pipelines/deploy-model.yml").read_text())
    start = Route(**yaml.safe_load(route[0].replace("#   ", "").replace("#", ""))[0]).pipeline
    world.azure_devops.add_pipeline(start.project, "Example", parameters=declared)

    registered = parse(event(model="churn_model"))
    azure_devops = world.app.azure_devops
    azure_devops.start(
        start.model_copy(update={"pipeline": "Example"}).start("churn", registered, newest_only=True),
        registered,
        "marker",
    )

    (run,) = world.azure_devops.runs
    assert run["templateParameters"].keys() == declared.keys()

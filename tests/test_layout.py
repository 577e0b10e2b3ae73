"""The layout: which module may import which, how large they are, what is deployed, and that the files agree."""

import ast
import json
import os
import re
import shutil
import subprocess
import sys
from collections import Counter
from dataclasses import replace
from functools import cache
from pathlib import Path

import pathspec
import pytest
import yaml

from model_release.app import HOME, build
from model_release.domain.events import parse
from model_release.domain.release_map import PipelineOptions
from model_release.domain.routing import plan_run
from tests.environment import IN_MEMORY, Environment, event

# Each layer may import from the layers before it, and from its own.
LAYERS = [
    ["errors", "reason", "text"],
    ["domain", "settings", "session", "log", "tracing"],
    ["store", "azure_devops", "azure_ml"],
    ["flow"],
    ["web"],
    ["app"],
    ["triggers", "function_app", "cli", "__main__"],
]
PRODUCT = [HOME / "function_app.py", *HOME.glob("triggers/*.py"), *HOME.glob("model_release/**/*.py")]
READS_THE_ENVIRONMENT = ("model_release.app", "model_release.azure_devops.sdk", "model_release.cli.terminal")
MOST_LINES, MOST_LINES_OF_THE_WAY, MOST_MODULES, MOST_MODULES_AT_THE_TOP = 250, 180, 10, 7
# Each costs about 1 ms of CPU at every start, a NamedTuple a fifth of that.
MOST_DATACLASSES = 24


@cache
def imports(path: Path) -> set[str]:
    names = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names |= {node.module} | {f"{node.module}.{alias.name}" for alias in node.names}
    return names


def layer(module: str) -> int | None:
    name = module.removeprefix("model_release.").partition(".")[0]
    ours = module.startswith(("model_release.", "triggers", "function_app"))
    return next((number for number, names in enumerate(LAYERS) if ours and name in names), None)


def module(path: Path) -> str:
    return ".".join(path.relative_to(HOME).with_suffix("").parts).removesuffix(".__init__")


@pytest.mark.parametrize("path", PRODUCT, ids=module)
def test_a_module_imports_from_its_own_layer_and_those_before_it(path: Path) -> None:
    own = layer(module(path))
    if module(path) == "model_release":
        return
    assert own is not None, (
        f"{module(path)} is in no layer: add its folder to a row of LAYERS, or move it into a folder"
    )

    later = {name for name in imports(path) if (theirs := layer(name)) is not None and theirs > own}

    assert later == set(), (
        f"{module(path)} is in the layer {', '.join(LAYERS[own])} and imports from a later layer: move the code that "
        "needs the import to that layer, or pass what it needs as an argument"
    )


@pytest.mark.parametrize("path", PRODUCT, ids=module)
def test_only_triggers_import_azure_functions_and_only_app_reads_the_environment(path: Path) -> None:
    found = imports(path)

    if not module(path).startswith(("triggers", "function_app")):
        assert not {name for name in found if name.startswith("azure.functions")}
    if module(path) not in READS_THE_ENVIRONMENT:
        assert "os" not in found
    assert not {name for name in found if name.startswith(("local", "tests", "bench"))}


@pytest.mark.parametrize("path", [path for path in PRODUCT if "domain" in path.parts], ids=module)
def test_the_domain_is_pure(path: Path) -> None:
    impure = ("model_release.log", "model_release.tracing", "model_release.settings", "logging", "requests", "time")

    assert not {name for name in imports(path) if name.startswith(impure)}


def test_modules_and_folders_stay_small() -> None:
    lines = {module(path): len(path.read_text().splitlines()) for path in PRODUCT}
    modules = [path for path in PRODUCT if path.name not in ("__init__.py", "__main__.py")]
    folders = Counter(path.parent for path in modules)
    at_the_top = folders.pop(HOME / "model_release")

    assert {name: count for name, count in lines.items() if count > MOST_LINES} == {}
    assert {folder.name: count for folder, count in folders.items() if count > MOST_MODULES} == {}
    assert lines["model_release.flow.start_release"] <= MOST_LINES_OF_THE_WAY
    assert at_the_top <= MOST_MODULES_AT_THE_TOP


def test_a_class_name_occurs_once_in_the_product() -> None:
    classes = Counter(
        node.name
        for path in PRODUCT
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.ClassDef)
    )

    assert [name for name, count in classes.items() if count > 1] == []


def test_few_classes_are_dataclasses_because_each_makes_every_start_slower() -> None:
    deployed = [path for path in PRODUCT if "cli" not in path.parts]
    dataclasses = [
        node.name
        for path in deployed
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.ClassDef) and any("dataclass" in ast.unparse(one) for one in node.decorator_list)
    ]

    assert len(dataclasses) <= MOST_DATACLASSES, f"make one of them a NamedTuple: {dataclasses}"


@pytest.fixture(scope="module")
def deployed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What .funcignore leaves, in a folder of its own."""
    folder = tmp_path_factory.mktemp("deployed")
    command = ["git", "ls-files", "-co", "--exclude-standard"]
    listed = subprocess.run(command, cwd=HOME, capture_output=True, text=True, check=True)
    left_out = pathspec.GitIgnoreSpec.from_lines((HOME / ".funcignore").read_text().splitlines())
    for name in listed.stdout.splitlines():
        if not left_out.match_file(name) and (HOME / name).exists():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(HOME / name, folder / name)
    return folder


def test_func_start_takes_up_an_edited_release_map() -> None:
    values = json.loads((HOME / "local.settings.sample.json").read_text())["Values"]

    assert values["RELEASE_MAP"] in json.loads((HOME / "host.json").read_text())["watchFiles"]


def run(deployed: Path, code: str) -> subprocess.CompletedProcess[str]:
    """Run code where the app is deployed, with the sample settings."""
    environment = {**os.environ, **json.loads((HOME / "local.settings.sample.json").read_text())["Values"]}
    command = [sys.executable, "-c", code]
    return subprocess.run(command, cwd=deployed, env=environment, capture_output=True, text=True, check=False)


def test_what_is_deployed_imports_nothing_that_is_not(deployed: Path) -> None:
    modules = [
        ".".join(path.relative_to(deployed).with_suffix("").parts)
        for path in deployed.rglob("*.py")
        if path.name not in ("__init__.py", "__main__.py")
    ]

    done = run(deployed, f"import importlib\nfor name in {modules!r}: importlib.import_module(name)")

    assert done.stderr == ""
    assert "function_app" in modules
    assert not any(name.startswith("model_release.cli") for name in modules)


def test_a_start_runs_no_other_program(deployed: Path) -> None:
    hook = "lambda name, values: name != 'subprocess.Popen' or sys.exit(f'starts {values[0]}')"

    done = run(deployed, f"import sys\nsys.addaudithook({hook})\nimport function_app")

    assert (done.returncode, done.stderr) == (0, "")


def test_the_sample_settings_are_sufficient_to_start() -> None:
    values = json.loads((HOME / "local.settings.sample.json").read_text())["Values"]

    assert build(values).start_release.release_map.routes


def test_the_map_in_the_readme_is_the_sample_map() -> None:
    (shown,) = re.findall(r"```yaml\n(version: 1.*?)```", (HOME / "README.md").read_text(), re.DOTALL)

    assert shown in (HOME / "release_map.yaml").read_text()


def test_every_file_that_the_documentation_links_to_exists() -> None:
    for document in [*HOME.glob("*.md"), *HOME.glob("docs/**/*.md"), *HOME.glob("bench/*.md")]:
        for link in re.findall(r"\]\((?!https?:|#)([^)#]+)", document.read_text()):
            assert (document.parent / link).exists(), f"{document.name}: {link}"


def test_every_heading_that_the_documentation_links_to_exists() -> None:
    for document in [*HOME.glob("*.md"), *HOME.glob("docs/**/*.md")]:
        for file, anchor in re.findall(r"\]\((?!https?:)([^)#]*)#([^)]+)\)", document.read_text()):
            headings = re.findall(
                r"^#+ (.*)$", (document.parent / file if file else document).read_text(), re.MULTILINE
            )
            anchors = {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}
            assert anchor in anchors, f"{document.name}: {file}#{anchor}"


@IN_MEMORY
def test_the_example_pipeline_runs_with_the_default_parameters_of_a_route(env: Environment) -> None:
    text = (HOME / "docs/pipelines/deploy-model.yml").read_text()
    declared = {parameter["name"]: parameter.get("default") for parameter in yaml.safe_load(text)["parameters"]}
    found = re.search(r"#   - model: .*\n#     pipeline: .*", text)
    assert found
    (route,) = yaml.safe_load(found[0].replace("#   ", "").replace("#", ""))
    options = PipelineOptions(**route["pipeline"])
    env.azure_devops.add_pipeline(options.project, "Example", parameters=declared)
    registered = parse(event(model="churn_model"))
    plan = plan_run(replace(options, pipeline="Example"), "churn", registered, newest_only=True)

    env.app.start_release.attempts.azure_devops.create(plan, registered, "marker", deadline=float("inf"))

    (run,) = env.azure_devops.runs
    assert run["templateParameters"].keys() == declared.keys()

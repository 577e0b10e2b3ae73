"""Compile and lint the templates, compare what is committed, and check the queries: `make infra`.

`--write` writes the compiled templates and the predicted resources.
"""

import argparse
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

INFRA = Path(__file__).parent
TEMPLATES = ("main", "event-subscriptions")
# Where the predictions are; nothing of it exists.
_SCOPE = (
    "--subscription-id", "11111111-1111-1111-1111-111111111111",
    "--tenant-id", "22222222-2222-2222-2222-222222222222",
    "--resource-group", "models",
)  # fmt: skip


def queries(infra: Path) -> dict[str, str]:
    """Return the queries of the predicted resources and of the documents by name."""
    found = {}
    predicted = json.loads((infra / "snapshots/everything.snapshot.json").read_text())["predictedResources"]
    for resource in predicted:
        properties = resource.get("properties", {})
        if resource["type"].endswith("/savedSearches"):
            found[properties["displayName"]] = properties["query"]
        elif resource["type"].endswith("/scheduledQueryRules"):
            found[properties["displayName"]] = properties["criteria"]["allOf"][0]["query"]
    for document in sorted((infra.parent / "docs").rglob("*.md")):
        blocks = re.findall(r"^```kusto\n(.*?)^```", document.read_text(), re.MULTILINE | re.DOTALL)
        for number, text in enumerate(blocks, 1):
            found[f"{document.name}, query {number}"] = text
    return found


def template_faults(bicep: str, infra: Path, names: Sequence[str] = TEMPLATES, *, write: bool) -> Iterator[str]:
    """Compile each template; return errors, warnings, and each committed file that differs."""
    for name in names:
        done = _run(bicep, "build", f"{name}.bicep", "--stdout", folder=infra)
        yield from done.stderr.splitlines()
        if done.returncode:
            continue
        file = infra / f"{name}.json"
        if write:
            file.write_text(done.stdout)
        elif not file.exists() or _comparable(json.loads(file.read_text())) != _comparable(json.loads(done.stdout)):
            yield f"{file.name} differs from {name}.bicep; run `make infra ARGS=--write` and commit it"


def is_pinned(bicep: str, infra: Path) -> bool:
    """Whether this Bicep CLI compiled what is committed; another version compiles and predicts differently."""
    version = json.loads((infra / "main.json").read_text())["metadata"]["_generator"]["version"]
    done = _run(bicep, "--version", folder=infra)
    return bool(re.match(rf"Bicep CLI version {re.escape('.'.join(version.split('.')[:3]))}\b", done.stdout))


def snapshot_faults(bicep: str, infra: Path, *, write: bool) -> Iterator[str]:
    """Predict the resources of each parameter file; return what differs from the committed prediction."""
    mode = "overwrite" if write else "validate"
    for file in sorted((infra / "snapshots").glob("*.bicepparam")):
        done = _run(bicep, "snapshot", file.name, "--mode", mode, *_SCOPE, folder=file.parent)
        if done.returncode:
            yield f"{file.name}: other resources are predicted; run `make infra ARGS=--write` and commit them"
            yield from (done.stdout + done.stderr).splitlines()


def query_faults(node: str, modules: Path, infra: Path) -> list[str]:
    """Return each fault of a query: its syntax, and columns that its table does not have."""
    content = {"tables": json.loads((infra / "tables.json").read_text()), "queries": queries(infra)}
    done = subprocess.run(
        [node, str(INFRA / "kql.js"), str(modules)],
        input=json.dumps(content),
        capture_output=True,
        text=True,
        check=False,
    )
    return done.stdout.splitlines() + (done.stderr.splitlines() if done.returncode else [])


def _comparable(template: Any) -> Any:
    """Leave out the version of the compiler and its hash."""
    if isinstance(template, dict):
        return {name: _comparable(value) for name, value in template.items() if name != "_generator"}
    return [_comparable(value) for value in template] if isinstance(template, list) else template


def _run(*command: str, folder: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)


def main() -> int:
    """Print every fault; return 1 if there is one, or if INFRA_CHECK=required and a program is missing."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--write", action="store_true", help="write the compiled templates and the predictions")
    parser.add_argument("--kusto", type=Path, default=Path(".kusto"), help="folder of Microsoft's language service")
    parser.add_argument("--infra", type=Path, default=INFRA, help="folder of the templates")
    options = parser.parse_args()
    bicep, node = shutil.which("bicep"), shutil.which("node")
    faults: list[str] = []
    missing = [f"{name} is not on PATH" for name, found in (("bicep", bicep), ("node", node)) if not found]
    if bicep and (options.write or is_pinned(bicep, options.infra)):
        faults += template_faults(bicep, options.infra, write=options.write)
        faults += snapshot_faults(bicep, options.infra, write=options.write)
    elif bicep:
        # A newer compiler has newer warnings.
        faults += [one for one in template_faults(bicep, options.infra, write=False) if ": Error " in one]
        missing.append("what is committed comes from another version of the Bicep CLI")
    if node:
        faults += query_faults(node, options.kusto, options.infra)
    print(*faults, sep="\n", end="\n" if faults else "")
    skipped = "".join(f"; not checked: {problem}" for problem in missing)
    print(f"infra: {len(faults)} {'fault' if len(faults) == 1 else 'faults'}{skipped}")
    return int(bool(faults) or bool(missing and os.environ.get("INFRA_CHECK") == "required"))


if __name__ == "__main__":
    sys.exit(main())

"""The web page of the local Azure DevOps: its releases and runs, newest first."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from string import Template

from local.azure_devops_http import Json

_PAGE = Template("""<!DOCTYPE html>
<html lang="en"><head><meta charset="utf-8"><title>Local Azure DevOps</title><link rel="icon" href="data:,">
<style>
  body { font: 15px/1.5 system-ui, sans-serif; margin: 2rem auto; max-width: 70rem; padding: 0 1rem }
  table { border-collapse: collapse; width: 100% }
  th, td { border-bottom: 1px solid #ddd; padding: .4rem 1rem .4rem 0; text-align: left; vertical-align: top }
  td { white-space: pre-line }
</style></head>
<body><h1>Releases</h1>
<table>
<thead><tr><th>Id<th>Definition<th>Description<th>Artifact versions<th>Variables</thead>
<tbody>$releases</tbody>
</table>
<h1>Runs</h1>
<table>
<thead><tr><th>Id<th>Pipeline<th>Branch<th>Parameters</thead>
<tbody>$runs</tbody>
</table>
</body></html>
""")


def render(releases: Sequence[Json], runs: Sequence[Json]) -> str:
    """Return the page as HTML."""
    nothing = "<tr><td>none yet"
    return _PAGE.substitute(
        releases="".join(map(_release, reversed(releases))) or nothing,
        runs="".join(map(_run, reversed(runs))) or nothing,
    )


def _release(release: Json) -> str:
    versions = {
        artifact["alias"]: artifact["definitionReference"].get("version", {}).get("name", "none")
        for artifact in release["artifacts"]
    }
    variables = {name: variable.get("value") or "" for name, variable in release["variables"].items()}
    definition = f"{release['projectReference']['name']}: {release['releaseDefinition']['name']}"
    return _row(release["id"], definition, release["description"], _lines(versions), _lines(variables))


def _run(run: Json) -> str:
    return _row(run["id"], run["pipeline"]["name"], run["sourceBranch"], _lines(run["templateParameters"]))


def _lines(values: Json) -> str:
    return "\n".join(f"{name}: {value}" for name, value in values.items())


def _row(*values: object) -> str:
    return "<tr>" + "".join(f"<td>{escape(str(value))}</td>" for value in values) + "</tr>\n"

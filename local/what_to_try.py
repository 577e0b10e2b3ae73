"""What a person can try while the demo is running."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

_NEXT_RELEASE = {"method": "POST", "path": "/releases", "times": 1}
_FAULTS = {
    "throttled": {**_NEXT_RELEASE, "status": 429, "headers": {"Retry-After": "30"}},
    "unavailable": {**_NEXT_RELEASE, "status": 503},
    "no permission": {**_NEXT_RELEASE, "status": 403, "body": {"message": "Access denied."}},
}


def what_to_try(host: str, azure_devops: str, webhook: str, event: Mapping[str, Any]) -> str:
    """Return pages, commands and faults to try; `event` is not delivered yet."""
    faults = "\n".join(
        f"  {name:<15} curl {azure_devops}/_local/faults -d '{json.dumps([fault])}'" for name, fault in _FAULTS.items()
    )
    return f"""
Everything is still running; Ctrl-C stops it. Try:

  see what is out       {host}/api/targets (brought up to date by the sweep)
  see what happened     {host}/api/releases
  see the releases      {azure_devops}
  register version 22   curl -i '{webhook}' -H 'aeg-event-type: Notification' \\
                          -d '{json.dumps(event)}'
  run the sweep         curl -i -X POST {host}/admin/functions/unfinished_releases -d '{{}}'

In another terminal with the same environment:

  export MODEL_RELEASE_URL={host}
  python -m model_release targets
  python -m model_release history --ignored
  python -m model_release show sklearn_regression_model:21 --outcome

Faults of Azure DevOps, each for its next release:

{faults}"""

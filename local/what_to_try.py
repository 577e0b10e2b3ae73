"""What a person can try while the demo is running."""

from __future__ import annotations

import json

from local.azure_ml import WORKSPACE

_NEXT_RELEASE = {"method": "POST", "path": "/releases", "times": 1}
_FAULTS = {
    "throttled 30 s": {**_NEXT_RELEASE, "status": 429, "headers": {"Retry-After": "30"}},
    "unavailable": {**_NEXT_RELEASE, "status": 503},
    "no permission": {**_NEXT_RELEASE, "status": 403, "body": {"message": "Access denied."}},
}


def what_to_try(host: str, azure_devops: str) -> str:
    """Return pages, commands and faults to try; version 22 is registered, and its event is not delivered yet."""
    faults = "\n".join(
        f"  {name:<15} curl {azure_devops}/_local/faults -d '{json.dumps([fault])}'" for name, fault in _FAULTS.items()
    )
    return f"""
Everything is still running; Ctrl-C stops it. The sweep runs every minute, the catch-up every five minutes. Try:

  see what is out     {host}/api/targets
  see what happened   {host}/api/releases
  see the releases    {azure_devops}

In another terminal with the same environment:

  export MODEL_RELEASE_URL={host} AML_WORKSPACES={WORKSPACE}
  python -m model_release send sklearn_regression_model:22    # otherwise the catch-up starts it
  python -m model_release targets
  python -m model_release start sklearn_regression_model:21

Faults of Azure DevOps, each for the next release, such as that of `start`:

{faults}"""

"""Runs a script of Microsoft's Node clients, which nobody here wrote."""

import json
import os
import subprocess
from pathlib import Path
from typing import Any

from local import azurite

_MODULES = azurite.PLACE / "node_modules"


def run(script: str, package: str, *arguments: str) -> dict[str, Any]:
    """Run a script of this folder, which needs a package, and return what it prints."""
    done = subprocess.run(
        [azurite.node(_MODULES / package), str(Path(__file__).parent / script), *arguments],
        env=os.environ | {"NODE_PATH": str(_MODULES)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return dict(json.loads(done.stdout))

"""HTTP: whether the app can start releases."""

import azure.functions as func

from model_release.log import safe_failure
from model_release.web.health import Health
from triggers.http import json_answer


def add_to(app: func.FunctionApp, health: Health) -> None:
    """Add the function `health`, which answers 200 or 503."""

    @app.function_name("health")
    @app.route("health", methods=["GET", "HEAD"], auth_level=func.AuthLevel.FUNCTION)
    def check_health(req: func.HttpRequest) -> func.HttpResponse:  # noqa: ARG001  the host's name for it
        with safe_failure():
            checked = health.check()
        return json_answer(checked, 200 if checked["healthy"] else 503)

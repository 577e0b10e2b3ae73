"""HTTP: whether the app can do its work."""

import azure.functions as func

from model_release.web.health import Health
from triggers.http import json_answer


def add_to(app: func.FunctionApp, health: Health) -> None:
    """Add the function `health`, which answers 200 or 503."""

    @app.function_name("health")
    @app.route("health", methods=["GET"], auth_level=func.AuthLevel.FUNCTION)
    def healthy(req: func.HttpRequest) -> func.HttpResponse:  # noqa: ARG001  the host's name for it
        found = health.look()
        return json_answer(found, 200 if found["healthy"] else 503)

"""Event Grid: a model was registered."""

import azure.functions as func

from model_release.flow.start_release import StartRelease
from model_release.log import safe_failure
from model_release.tracing import continued


def add_to(app: func.FunctionApp, start_release: StartRelease) -> None:
    """Add the function `model_registered`."""

    # Only `str` provides the complete event, in both schemas, with every version of azure-functions.
    @app.event_grid_trigger(arg_name="event")
    def model_registered(event: str, context: func.Context) -> None:
        # From Python 3.13 on the worker does not pass its span to the thread of the function.
        with continued(context.trace_context.trace_parent), safe_failure():
            start_release.registered(event)

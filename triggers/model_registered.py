"""Event Grid: a model was registered."""

import azure.functions as func

from model_release.start_release import StartRelease


def add_to(app: func.FunctionApp, start_release: StartRelease) -> None:
    """Add the function `model_registered`."""

    # Only `str` gives the whole event, in both schemas, with every version of azure-functions.
    @app.event_grid_trigger(arg_name="event")
    def model_registered(event: str) -> None:
        start_release.registered(event)

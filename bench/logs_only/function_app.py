"""Log the event."""

import logging

import azure.functions as func

app = func.FunctionApp()


@app.event_grid_trigger(arg_name="event")
def model_registered(event: str) -> None:
    """Log the size of the event."""
    logging.getLogger(__name__).info("%d characters", len(event))

"""Timer, every minute: whatever waits or was cut off."""

import azure.functions as func

from model_release.flow.start_release import StartRelease


def add_to(app: func.FunctionApp, start_release: StartRelease) -> None:
    """Add the function `unfinished_releases`."""

    @app.timer_trigger(arg_name="timer", schedule="0 * * * * *")
    def unfinished_releases(timer: func.TimerRequest) -> None:  # noqa: ARG001  the host's name for it
        start_release.unfinished()

"""Timer, every minute: attempt the claims that are pending."""

import azure.functions as func

from model_release.flow.sweep import Sweep
from model_release.log import safe_failure


def add_to(app: func.FunctionApp, sweep: Sweep) -> None:
    """Add the function `unfinished_releases`."""

    @app.timer_trigger(arg_name="timer", schedule="0 * * * * *")
    def unfinished_releases(timer: func.TimerRequest) -> None:  # noqa: ARG001  the host's name for it
        with safe_failure():
            sweep.run()

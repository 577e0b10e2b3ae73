"""Timer, every minute: attempt the claims that are pending."""

import azure.functions as func

from model_release.flow.sweep import Sweep


def add_to(app: func.FunctionApp, sweep: Sweep) -> None:
    """Add the function `unfinished_releases`."""

    @app.timer_trigger(arg_name="timer", schedule="0 * * * * *")
    def unfinished_releases(timer: func.TimerRequest) -> None:  # noqa: ARG001  the host's name for it
        sweep.run()

"""Timer, on the schedule of the settings: start what no event started."""

import azure.functions as func

from model_release.flow.catch_up import CatchUp
from model_release.log import safe_failure


def add_to(app: func.FunctionApp, catch_up: CatchUp, schedule: str) -> None:
    """Add the function `missed_models`."""

    @app.timer_trigger(arg_name="timer", schedule=schedule)
    def missed_models(timer: func.TimerRequest) -> None:  # noqa: ARG001  the host's name for it
        with safe_failure():
            catch_up.run()

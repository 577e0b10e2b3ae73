"""Timer, hourly: start what no event started."""

import azure.functions as func

from model_release.flow.catch_up import CatchUp


def add_to(app: func.FunctionApp, catch_up: CatchUp) -> None:
    """Add the function `missed_models`."""

    @app.timer_trigger(arg_name="timer", schedule="0 7 * * * *")
    def missed_models(timer: func.TimerRequest) -> None:  # noqa: ARG001  the host's name for it
        catch_up.run()

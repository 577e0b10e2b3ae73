"""The table of contents: one line a trigger."""

import azure.functions as func

from model_release import wiring
from triggers import model_registered, unfinished_releases

app = func.FunctionApp()
start_release = wiring.start_release()

model_registered.add_to(app, start_release)
unfinished_releases.add_to(app, start_release)

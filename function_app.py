"""The table of contents: one line a trigger."""

import azure.functions as func

from model_release import app as wiring
from triggers import health, missed_models, model_registered, releases, unfinished_releases

app = func.FunctionApp()
built = wiring.build()

model_registered.add_to(app, built.start_release)
unfinished_releases.add_to(app, built.start_release)
missed_models.add_to(app, built.catch_up)
releases.add_to(app, built.start_release, built.history)
health.add_to(app, built.health)

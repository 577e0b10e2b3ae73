"""The table of contents: one line a trigger."""

import azure.functions as func

from model_release.app import build_or_report
from triggers import health, missed_models, model_registered, pins, releases, targets, unfinished_releases

app = func.FunctionApp()
services = build_or_report()

model_registered.add_to(app, services.start_release)
unfinished_releases.add_to(app, services.sweep)
missed_models.add_to(app, services.catch_up, services.catch_up_schedule)
targets.add_to(app, services.records)
releases.add_to(app, services.start_release, services.records, signs_people_in=services.signs_people_in)
pins.add_to(app, services.sweep, services.records, signs_people_in=services.signs_people_in)
health.add_to(app, services.health)

"""Find a definition by its name and create a release, without a record and with new connections."""

import logging
import os

import azure.functions as func
import requests

app = func.FunctionApp()


@app.event_grid_trigger(arg_name="event")
def model_registered(event: func.EventGridEvent) -> None:
    """Create a release for the model version."""
    data = event.get_json()
    api = f"{os.environ['AZURE_DEVOPS_URL']}/fraud/_apis/release"
    sign_in = ("", os.environ["AZURE_DEVOPS_PAT"])
    version = {"api-version": "7.1"}
    found = requests.get(
        f"{api}/definitions",
        {**version, "searchText": "Deploy model", "isExactNameMatch": "true"},
        auth=sign_in,
        timeout=30,
    )
    found.raise_for_status()
    release = {
        "definitionId": found.json()["value"][0]["id"],
        "description": f"{data['ModelName']} {data['ModelVersion']}",
        "variables": {
            "ModelName": {"value": data["ModelName"]},
            "ModelVersion": {"value": str(data["ModelVersion"])},
        },
    }
    started = requests.post(f"{api}/releases", json=release, params=version, auth=sign_in, timeout=30)
    started.raise_for_status()
    logging.getLogger(__name__).info("%s started", started.json()["name"])

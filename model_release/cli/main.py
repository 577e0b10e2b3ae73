"""The group of all commands."""

import click

from model_release.cli.check.command import check
from model_release.cli.explain import explain
from model_release.cli.history import history
from model_release.cli.migrate.command import migrate
from model_release.cli.send import send
from model_release.cli.show import show
from model_release.cli.start import start


@click.group(help="Start Azure DevOps releases for models that are registered in Azure ML.")
def main() -> None:
    """Run a command."""


for command in (check, explain, history, migrate, send, show, start):
    main.add_command(command)

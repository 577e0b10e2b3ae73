"""The command: `python -m model_release`."""

from __future__ import annotations

import click

from model_release.cli.check.command import check
from model_release.cli.explain import explain
from model_release.cli.history import history
from model_release.cli.migrate.command import migrate
from model_release.cli.send import send
from model_release.cli.show import show
from model_release.cli.start import start


@click.group(help="Start Azure DevOps releases for the models that Azure ML registers.")
def main() -> None:
    """Choose a command."""


main.add_command(check)
main.add_command(explain)
main.add_command(history)
main.add_command(migrate)
main.add_command(send)
main.add_command(show)
main.add_command(start)

if __name__ == "__main__":
    main(prog_name="python -m model_release")

"""The group of all commands."""

from typing import Any

import click

from model_release.app import versions
from model_release.cli.check.command import check
from model_release.cli.explain import explain
from model_release.cli.history import history
from model_release.cli.migrate.command import migrate
from model_release.cli.send import send
from model_release.cli.show import show
from model_release.cli.start import start
from model_release.cli.steer import pin, set_mark_back, unpin
from model_release.cli.targets import targets
from model_release.cli.terminal import environment, show_text
from model_release.errors import ConfigurationError, ModelReleaseError
from model_release.log import no_lines_of_libraries
from model_release.text import safe


def _show_version(context: click.Context, _: click.Parameter, asked: bool) -> None:  # noqa: FBT001  click calls it so
    """Print the versions of the app and of this machine's release map."""
    if asked:
        found = versions(environment())
        show_text(f"Model Release {found['app']}, release map {found['release_map'] or 'not found'}")
        context.exit()


class Commands(click.Group):
    """Ends a command that raises an error of this package with the message alone."""

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command."""
        try:
            return super().invoke(ctx)
        except ConfigurationError as error:
            lines = ["Correct the settings and the release map:", *(str(fault) for fault in error.faults)]
            raise click.ClickException(safe("\n  ".join(lines))) from error
        except ModelReleaseError as error:
            raise click.ClickException(safe(str(error))) from error
        except click.ClickException as error:
            vars(error)["message"] = safe(error.message)
            raise


@click.group(cls=Commands, help="Start Azure DevOps releases for models that are registered in Azure ML.")
@click.option(
    "--version",
    is_flag=True,
    is_eager=True,
    expose_value=False,
    callback=_show_version,
    help="Print the version of the app and the digest of the release map.",
)
def main() -> None:
    """Run a command."""
    no_lines_of_libraries()


for command in (check, explain, history, migrate, pin, send, set_mark_back, show, start, targets, unpin):
    main.add_command(command)

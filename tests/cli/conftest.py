"""The fixtures of the commands: the app with its table in memory."""

from tests.environment_in_memory import env

__all__ = ["env"]

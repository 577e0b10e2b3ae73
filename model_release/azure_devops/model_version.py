"""How an AzureML model artifact writes the versions of its model (pure)."""

from typing import NamedTuple

from model_release.domain.events import NAME, ModelRegistered

_PLAIN = "{version}"
_WITH_MODEL = "{model}:{version}"


class Version(NamedTuple):
    """A version as a release names it."""

    id: str
    name: str


class VersionForm(NamedTuple):
    """The forms of the ID and of the name, as templates."""

    id: str
    name: str

    def version(self, event: ModelRegistered) -> Version:
        """Write the version of a registered model."""
        values = {"model": event.model, "version": event.version}
        return Version(self.id.format(**values), self.name.format(**values))


def version_form(model: str | None, id: str | None, name: str | None) -> VersionForm | None:  # noqa: A002  the API's word
    """Learn the form from a known version of a model; None if the ID shows none.

    An ID begins with the model, such as `churn:51`, or it is the version, such as `51`. The name, which Azure DevOps
    need not return, decides only whether an ID that is not a whole number is a version.
    """
    if not (model and id):
        return None
    start = f"{model}:"
    version = id.removeprefix(start)
    is_shown = version != id or id.isdecimal() or id == name
    if not (is_shown and NAME.fullmatch(version)):
        return None
    with_model = f"{start}{version}"
    return VersionForm(_PLAIN if version == id else _WITH_MODEL, _WITH_MODEL if name == with_model else _PLAIN)

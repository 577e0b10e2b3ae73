"""Check that the identity of the app may use the targets, as a person who may see the organization's users."""

from collections.abc import Iterator, Sequence

from model_release.cli.check.findings import Finding, Severity
from model_release.cli.check.organization import Grant, Organization, OrganizationError

_WHERE = "--identity"
_FIX = "run `python -m infra.azure_devops`"
# A Stakeholder can neither create releases nor see all of them.
_WITHOUT_RELEASES = ("stakeholder", "none")


def check_identity(principal: str, wanted: Sequence[Grant], organization: Organization) -> Iterator[Finding]:
    """Report what the service principal lacks: the user, its license, its projects, its permissions."""
    try:
        findings = list(_findings(principal, wanted, organization))
    except OrganizationError as error:
        message = f"the rights of identity {principal} cannot be read: {error}"
        fix = "sign in as a person who may see the users and the permissions of the organization"
        findings = [Finding(Severity.WARNING, message, _WHERE, fix)]
    if not findings:
        targets = "1 target" if len(wanted) == 1 else f"{len(wanted)} targets"
        findings = [Finding(Severity.OK, f"identity {principal} has its permissions on {targets}", _WHERE)]
    yield from findings


def _findings(principal: str, wanted: Sequence[Grant], organization: Organization) -> Iterator[Finding]:
    descriptor = organization.descriptor(principal)
    if not descriptor:
        message = f"identity {principal} is not a user of {organization.services.organization}"
        yield Finding(Severity.FAULT, message, _WHERE, _FIX)
        return
    entitlement = organization.entitlement(descriptor)
    if entitlement.license.lower() in _WITHOUT_RELEASES:
        message = f"identity {principal} has the license {entitlement.license}, not Basic"
        yield Finding(Severity.FAULT, message, _WHERE, _FIX)
    outside = {one.project: None for one in wanted if one.project_id not in entitlement.projects}
    for project in outside:
        yield Finding(Severity.FAULT, f"identity {principal} is not a member of project {project}", _WHERE, _FIX)
    identity = organization.identity(descriptor)
    for grant in wanted:
        if missing := organization.missing(grant, identity):
            message = f"identity {principal} does not have {', '.join(missing)} on {grant.securable}"
            yield Finding(Severity.FAULT, message, _WHERE, _FIX)

"""Let the identity of the app into Azure DevOps: a Basic license, its projects, and its permissions on the targets.

Run it after `azd up`, as a person who may add users to the organization: `python -m infra.azure_devops`. Running it
again changes nothing. It signs in with AZURE_DEVOPS_PAT, or as `az` or `azd` did.
"""

import argparse
import os
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from azure.core.exceptions import ClientAuthenticationError

from model_release.app import HOME, LazyCredential, sign_in
from model_release.azure_devops.client import AzureDevOps
from model_release.cli.check.organization import Addresses, Grant, Organization, OrganizationError, grants
from model_release.cli.terminal import show_text
from model_release.domain import release_map
from model_release.errors import AzureDevOpsError, ConfigurationError, Fault
from model_release.settings import InvalidValueError, azure_devops_url


class AccessControl(Organization):
    """The requests that change what an identity may do; every method raises OrganizationError."""

    def add(self, principal: str, projects: Sequence[str]) -> str:
        """Add the service principal with a Basic license to the projects, and return its descriptor."""
        readers = [{"group": {"groupType": "projectReader"}, "projectRef": {"id": one}} for one in projects]
        body = {
            "accessLevel": {"accountLicenseType": "express"},
            "servicePrincipal": {"origin": "aad", "originId": principal, "subjectKind": "servicePrincipal"},
            "projectEntitlements": readers,
        }
        path = f"{self.services.entitlements}/_apis/serviceprincipalentitlements"
        answer = self.send("POST", path, "7.1-preview.1", json=body)
        if not answer.get("isSuccess"):
            # A refusal is answered with status 200.
            errors = (answer.get("operationResult") or {}).get("errors") or []
            reason = "; ".join(str(one.get("value")) for one in errors) or "without a reason"
            raise OrganizationError(f"Azure DevOps refused to add the identity: {reason}")
        return str(answer["servicePrincipalEntitlement"]["servicePrincipal"]["descriptor"])

    def allow(self, grant: Grant, identity: str) -> None:
        """Allow the permissions, in addition to what is allowed; they must be effective then."""
        securable = grant.securable
        entry = {"descriptor": identity, "allow": grant.bits, "deny": 0, "extendedInfo": {}}
        body = {"token": securable.token, "merge": True, "accessControlEntries": [entry]}
        url = f"{self.services.organization}/_apis/accesscontrolentries/{securable.namespace}"
        self.send("POST", url, "7.1", json=body)
        if missing := self.missing(grant, identity):
            problem = f"{', '.join(missing)} on {securable} is not effective"
            raise OrganizationError(f"{problem}; a group of the identity denies it")


def steps(principal: str, wanted: Sequence[Grant], services: Addresses) -> Iterator[str]:
    """Describe what will be done."""
    projects = sorted({one.project for one in wanted}, key=str.casefold)
    yield f"add the identity {principal} to {services.organization} with a Basic license"
    yield f"add it to the readers of {', '.join(projects)}"
    yield from map(str, wanted)


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m infra.azure_devops", description=__doc__)
    parser.add_argument("--url", default=os.environ.get("AZURE_DEVOPS_URL", ""), help="[env: AZURE_DEVOPS_URL]")
    parser.add_argument("--map", type=Path, default=HOME / os.environ.get("RELEASE_MAP", "release_map.yaml"))
    principal = os.environ.get("IDENTITY_PRINCIPAL_ID")
    parser.add_argument(
        "--identity", default=principal, required=not principal, help="object ID [env: IDENTITY_PRINCIPAL_ID]"
    )
    parser.add_argument("--yes", action="store_true", help="do not ask")
    return parser.parse_args(arguments)


def main(arguments: Sequence[str] | None = None) -> int:
    """Show the steps, ask, and do them; return 1 if something was refused."""
    options = _options(arguments)
    try:
        _run(options)
    except (OrganizationError, AzureDevOpsError, ConfigurationError) as error:
        show_text(str(error), on_stderr=True)
        return 1
    except ClientAuthenticationError:
        show_text("Nobody is signed in; run `az login` or `azd auth login`.", on_stderr=True)
        return 1
    return 0


def _run(options: argparse.Namespace) -> None:
    try:
        url = azure_devops_url(options.url, os.environ.get("AZURE_DEVOPS_PAT", ""))
    except InvalidValueError as error:
        raise OrganizationError(str(Fault(str(error), error.fix, where="AZURE_DEVOPS_URL"))) from error
    services = Addresses.of(url)
    person = sign_in(os.environ.get("AZURE_DEVOPS_PAT", ""), LazyCredential(""))
    wanted = grants(release_map.load(options.map), AzureDevOps(url, person, timeout=20))
    show_text("\n".join(["This will:", *(f"  - {step}" for step in steps(options.identity, wanted, services))]))
    if not options.yes and input("Continue? [y/N] ").strip().lower() != "y":
        raise OrganizationError("Nothing was changed.")
    session = services.session()
    person.signed_session(session)
    organization = AccessControl(services, session)
    projects = sorted({one.project_id for one in wanted})
    identity = organization.identity(organization.add(options.identity, projects))
    for grant in wanted:
        organization.allow(grant, identity)
    show_text("Done. `python -m model_release check` examines the rest.")


if __name__ == "__main__":
    sys.exit(main())

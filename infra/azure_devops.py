"""Let the identity of the app into Azure DevOps: a Basic license, its projects, and its permissions on the targets.

Run it after `azd up`, as a person who may add users to the organization: `python -m infra.azure_devops`. Running it
again changes nothing. It signs in with AZURE_DEVOPS_PAT, or as `az` or `azd` did.
"""

import argparse
import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import requests
from azure.core.exceptions import ClientAuthenticationError

from model_release.app import HOME, LazyCredential, sign_in
from model_release.azure_devops.client import AzureDevOps
from model_release.azure_devops.target_name import project_id_of
from model_release.cli.check.permissions import Securable, pipeline, release_definition
from model_release.domain import release_map
from model_release.domain.release_map import ReleaseMap
from model_release.errors import AzureDevOpsError, ConfigurationError, Fault
from model_release.settings import LOOPBACK, InvalidValueError, azure_devops_url

_ON_PIPELINES = {"View builds": 1, "Queue builds": 128, "View build pipeline": 1024}


class StepError(Exception):
    """A step was refused: the problem, and what to do."""


@dataclass(frozen=True)
class Grant:
    """The permissions on one target of the map."""

    project: str
    project_id: str
    securable: Securable
    permissions: Mapping[str, int]

    def __str__(self) -> str:
        """The grant as people read it."""
        return f"allow {', '.join(self.permissions)} on {self.securable} of project {self.project}"

    @property
    def bits(self) -> int:
        """The permissions as bits of their namespace."""
        return sum(self.permissions.values())


@dataclass(frozen=True)
class Services:
    """The addresses of the organization's services; on this machine all are one."""

    organization: str
    entitlements: str
    identities: str

    @classmethod
    def of(cls, url: str) -> "Services":
        """Derive them from the organization's address; raises StepError."""
        parts = urlsplit(url)
        if parts.hostname in LOOPBACK:
            return cls(url, url, url)
        name = parts.path.strip("/")
        if parts.hostname and parts.hostname.endswith(".visualstudio.com"):
            name = parts.hostname.partition(".")[0]
        elif parts.hostname != "dev.azure.com":
            raise StepError(f"{url} is an on-premises collection, which does not know Entra identities; use a token")
        return cls(url, f"https://vsaex.dev.azure.com/{name}", f"https://vssps.dev.azure.com/{name}")


def grants(routes: ReleaseMap, azure_devops: AzureDevOps) -> list[Grant]:
    """Return the permissions that the enabled routes need, each target once; raises AzureDevOpsError."""
    found: dict[tuple[str, str], Grant] = {}
    for route in routes.routes:
        if not route.enabled:
            continue
        target = azure_devops.find(route.target)
        if route.target.kind == "pipeline":
            grant = Grant(route.target.project, target.project_id, pipeline(target), _ON_PIPELINES)
        else:
            content = azure_devops.releases.definition(route.target.project, target.id)
            securable = release_definition(content)
            grant = Grant(route.target.project, project_id_of(content), securable, securable.permissions)
        found[grant.securable.namespace, grant.securable.token] = grant
    return list(found.values())


@dataclass(frozen=True)
class Organization:
    """The requests that change who may do what."""

    services: Services
    session: requests.Session

    def add(self, principal: str, projects: Sequence[str]) -> str:
        """Add the service principal with a Basic license to the projects; return its descriptor; raises StepError."""
        readers = [{"group": {"groupType": "projectReader"}, "projectRef": {"id": one}} for one in projects]
        body = {
            "accessLevel": {"accountLicenseType": "express"},
            "servicePrincipal": {"origin": "aad", "originId": principal, "subjectKind": "servicePrincipal"},
            "projectEntitlements": readers,
        }
        path = f"{self.services.entitlements}/_apis/serviceprincipalentitlements"
        answer = self._send("POST", path, "7.1-preview.1", json=body)
        if not answer.get("isSuccess"):
            # A refusal is answered with status 200.
            errors = (answer.get("operationResult") or {}).get("errors") or []
            reason = "; ".join(str(one.get("value")) for one in errors) or "without a reason"
            raise StepError(f"Azure DevOps refused to add the identity: {reason}")
        return str(answer["servicePrincipalEntitlement"]["servicePrincipal"]["descriptor"])

    def identity(self, descriptor: str) -> str:
        """Return how access control entries name the service principal; raises StepError."""
        path = f"{self.services.identities}/_apis/identities"
        found = self._send("GET", path, "7.1", params={"subjectDescriptors": descriptor})["value"]
        if not found or not found[0]:
            raise StepError(f"Azure DevOps does not know {descriptor} yet; run this again in a minute")
        return str(found[0]["descriptor"])

    def allow(self, grant: Grant, identity: str) -> None:
        """Allow the permissions, in addition to what is allowed; raises StepError if they are not effective then."""
        securable = grant.securable
        entry = {"descriptor": identity, "allow": grant.bits, "deny": 0, "extendedInfo": {}}
        body = {"token": securable.token, "merge": True, "accessControlEntries": [entry]}
        url = self.services.organization
        self._send("POST", f"{url}/_apis/accesscontrolentries/{securable.namespace}", "7.1", json=body)
        query = {"token": securable.token, "descriptors": identity, "includeExtendedInfo": "true"}
        lists = self._send("GET", f"{url}/_apis/accesscontrollists/{securable.namespace}", "7.1", params=query)["value"]
        entries = [one["acesDictionary"].get(identity, {}) for one in lists]
        effective = [one.get("extendedInfo", {}).get("effectiveAllow", one.get("allow", 0)) for one in entries]
        missing = [name for name, bit in grant.permissions.items() if not any(bits & bit for bits in effective)]
        if missing:
            raise StepError(f"{', '.join(missing)} on {securable} is not effective; a group of the identity denies it")

    def _send(self, method: str, url: str, version: str, **options: Any) -> dict[str, Any]:
        params = {"api-version": version, **options.pop("params", {})}
        try:
            answer = self.session.request(method, url, params=params, timeout=60, allow_redirects=False, **options)
            content = answer.json()
        except requests.JSONDecodeError:
            content = None
        except requests.RequestException as error:
            raise StepError(f"{urlsplit(url).netloc} does not answer; try again") from error
        if answer.status_code == requests.codes.ok and isinstance(content, dict):
            return content
        reason = content.get("message") if isinstance(content, dict) else None
        reason = reason or f"status {answer.status_code}; sign in as an administrator of the organization"
        raise StepError(f"{method} {urlsplit(url).path} was refused: {reason}")


def steps(principal: str, wanted: Sequence[Grant], services: Services) -> Iterator[str]:
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
    except (StepError, AzureDevOpsError, ConfigurationError) as error:
        print(error, file=sys.stderr)
        return 1
    except ClientAuthenticationError:
        print("Nobody is signed in; run `az login` or `azd auth login`.", file=sys.stderr)
        return 1
    return 0


def _run(options: argparse.Namespace) -> None:
    try:
        url = azure_devops_url(options.url, os.environ.get("AZURE_DEVOPS_PAT", ""))
    except InvalidValueError as error:
        raise StepError(str(Fault(str(error), error.fix, where="AZURE_DEVOPS_URL"))) from error
    services = Services.of(url)
    person = sign_in(os.environ.get("AZURE_DEVOPS_PAT", ""), LazyCredential(""))
    wanted = grants(release_map.load(options.map), AzureDevOps(url, person, timeout=20))
    print("This will:", *(f"  - {step}" for step in steps(options.identity, wanted, services)), sep="\n", flush=True)
    if not options.yes and input("Continue? [y/N] ").strip().lower() != "y":
        raise StepError("Nothing was changed.")
    organization = Organization(services, person.signed_session())
    projects = sorted({one.project_id for one in wanted})
    identity = organization.identity(organization.add(options.identity, projects))
    for grant in wanted:
        organization.allow(grant, identity)
    print("Done. `python -m model_release check` examines the rest.")


if __name__ == "__main__":
    sys.exit(main())

"""What an organization of Azure DevOps allows an identity: the requests that its SDK does not have."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

import requests

from model_release.azure_devops.client import AzureDevOps
from model_release.azure_devops.target_name import project_id_of
from model_release.cli.check.permissions import Securable, pipeline, release_definition
from model_release.domain.release_map import ReleaseMap
from model_release.session import CredentialSession
from model_release.settings import LOOPBACK

_ON_PIPELINES = {"View builds": 1, "Queue builds": 128, "View build pipeline": 1024}


class OrganizationError(Exception):
    """A request was refused, or the organization has no such service: the problem, and what to do."""


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
class Addresses:
    """The addresses of the organization's services; on this machine all are one."""

    organization: str
    entitlements: str
    identities: str

    @classmethod
    def of(cls, url: str) -> "Addresses":
        """Derive them from the organization's address; raises OrganizationError."""
        parts = urlsplit(url)
        if parts.hostname in LOOPBACK:
            return cls(url, url, url)
        name = parts.path.strip("/")
        if parts.hostname and parts.hostname.endswith(".visualstudio.com"):
            name = parts.hostname.partition(".")[0]
        elif parts.hostname != "dev.azure.com":
            problem = f"{url} is an on-premises collection, which does not know Entra identities"
            raise OrganizationError(f"{problem}; use a token")
        return cls(url, f"https://vsaex.dev.azure.com/{name}", f"https://vssps.dev.azure.com/{name}")

    def session(self) -> CredentialSession:
        """Return a session for requests to these services only."""
        return CredentialSession(self.organization, self.entitlements, self.identities)


@dataclass(frozen=True)
class Entitlement:
    """The license of a user, and the IDs of the projects of which it is a member."""

    license: str
    projects: frozenset[str]


@dataclass(frozen=True)
class Organization:
    """Reads what an identity may do; every method raises OrganizationError."""

    services: Addresses
    session: CredentialSession

    def descriptor(self, principal: str) -> str:
        """Return the descriptor of a service principal, or nothing if it is not a user of the organization.

        https://learn.microsoft.com/rest/api/azure/devops/graph/service-principals/list
        """
        users = self._pages(f"{self.services.identities}/_apis/graph/serviceprincipals", "7.1-preview.1")
        found = (str(user["descriptor"]) for user in users if str(user.get("originId")).lower() == principal.lower())
        return next(found, "")

    def identity(self, descriptor: str) -> str:
        """Return how access control entries name the service principal."""
        path = f"{self.services.identities}/_apis/identities"
        found = self.send("GET", path, "7.1", params={"subjectDescriptors": descriptor})["value"]
        if not found or not found[0]:
            raise OrganizationError(f"Azure DevOps does not know {descriptor} yet; run this again in a minute")
        return str(found[0]["descriptor"])

    def entitlement(self, descriptor: str) -> Entitlement:
        """Return the license and the projects of the service principal.

        https://learn.microsoft.com/rest/api/azure/devops/memberentitlementmanagement/service-principal-entitlements/get
        """
        keys = f"{self.services.identities}/_apis/graph/storagekeys/{descriptor}"
        number = self.send("GET", keys, "7.1-preview.1")["value"]
        path = f"{self.services.entitlements}/_apis/serviceprincipalentitlements/{number}"
        found = self.send("GET", path, "7.1-preview.1")
        projects = frozenset(str(one["projectRef"]["id"]) for one in found.get("projectEntitlements") or ())
        return Entitlement(str(found["accessLevel"]["accountLicenseType"]), projects)

    def missing(self, grant: Grant, identity: str) -> list[str]:
        """Return the permissions of the grant that are not effective."""
        query = {"token": grant.securable.token, "descriptors": identity, "includeExtendedInfo": "true"}
        path = f"{self.services.organization}/_apis/accesscontrollists/{grant.securable.namespace}"
        entries = [
            one["acesDictionary"].get(identity, {}) for one in self.send("GET", path, "7.1", params=query)["value"]
        ]
        effective = [one.get("extendedInfo", {}).get("effectiveAllow", one.get("allow", 0)) for one in entries]
        return [name for name, bit in grant.permissions.items() if not any(bits & bit for bits in effective)]

    def send(self, method: str, url: str, version: str, **options: Any) -> dict[str, Any]:
        """Send a request, and return the JSON object of the answer."""
        return self._send(method, url, version, **options)[0]

    def _pages(self, url: str, version: str) -> Iterator[dict[str, Any]]:
        token = ""
        while True:
            params = {"continuationToken": token} if token else {}
            content, token = self._send("GET", url, version, params=params)
            yield from content["value"]
            if not token:
                return

    def _send(self, method: str, url: str, version: str, **options: Any) -> tuple[dict[str, Any], str]:
        """Return the content and the continuation token."""
        params = {"api-version": version, **options.pop("params", {})}
        try:
            answer = self.session.request(method, url, params=params, timeout=60, allow_redirects=False, **options)
            content = answer.json()
        except requests.JSONDecodeError:
            content = None
        except requests.RequestException as error:
            raise OrganizationError(f"{urlsplit(url).netloc} does not answer; try again") from error
        if answer.status_code == requests.codes.ok and isinstance(content, dict):
            return content, answer.headers.get("x-ms-continuationtoken", "")
        reason = content.get("message") if isinstance(content, dict) else None
        reason = reason or f"status {answer.status_code}; sign in as an administrator of the organization"
        raise OrganizationError(f"{method} {urlsplit(url).path} was refused: {reason}")

"""Who is in the local organization, and which permissions a person allowed them.

https://learn.microsoft.com/rest/api/azure/devops/memberentitlementmanagement/service-principal-entitlements
"""

from __future__ import annotations

import uuid
from typing import Any

from werkzeug.wrappers import Response

from local.azure_devops_http import Call, Handler, Json, json_of, list_of

_TENANT = "22222222-2222-2222-2222-222222222222"


class Entitlements:
    """The service principals of the organization, and the access control entries of each token."""

    def __init__(self) -> None:
        # By object ID: the license, and the projects with the group in each.
        self.principals: dict[str, Json] = {}
        # By namespace, token and identity: the allowed bits.
        self.allowed: dict[tuple[str, str, str], int] = {}
        # With a message here, an entitlement is refused with it.
        self.refusal = ""

    def handlers(self) -> dict[str, Handler]:
        """Return the routes and their handlers."""
        return {
            "POST /{organization}/_apis/serviceprincipalentitlements": self._add,
            "GET /{organization}/_apis/serviceprincipalentitlements/{id}": self._entitlement,
            "GET /{organization}/_apis/graph/serviceprincipals": self._users,
            "GET /{organization}/_apis/graph/storagekeys/{id}": self._key,
            "GET /{organization}/_apis/identities": self._identities,
            "POST /{organization}/_apis/accesscontrolentries/{namespace}": self._allow,
            "GET /{organization}/_apis/accesscontrollists/{namespace}": self._lists,
        }

    def _add(self, call: Call) -> Response:
        body = call.body
        principal = body["servicePrincipal"]["originId"]
        if self.refusal:
            errors = [{"key": 5000, "value": self.refusal}]
            return json_of({"isSuccess": False, "operationResult": {"isSuccess": False, "errors": errors}})
        projects = {one["projectRef"]["id"]: one["group"]["groupType"] for one in body["projectEntitlements"]}
        known = self.principals.setdefault(principal, {"license": "", "projects": {}})
        known["license"] = body["accessLevel"]["accountLicenseType"]
        known["projects"] |= projects
        entitlement = {"servicePrincipal": {"descriptor": f"aadsp.{principal}", "originId": principal}}
        return json_of({"isSuccess": True, "servicePrincipalEntitlement": entitlement})

    def _entitlement(self, call: Call) -> Response:
        known = next(known for one, known in self.principals.items() if _key_of(one) == call.id)
        projects = [
            {"projectRef": {"id": project}, "group": {"groupType": group}}
            for project, group in known["projects"].items()
        ]
        license_of = {"accountLicenseType": known["license"]}
        return json_of({"id": call.id, "accessLevel": license_of, "projectEntitlements": projects})

    def _users(self, call: Call) -> Response:
        """List one user a page, as a large organization has many pages."""
        users = [
            {"subjectKind": "servicePrincipal", "descriptor": f"aadsp.{one}", "originId": one}
            for one in self.principals
        ]
        start = int(call.query.get("continuationToken") or 0)
        page = list_of(users[start : start + 1])
        if start + 1 < len(users):
            page.headers["X-MS-ContinuationToken"] = str(start + 1)
        return page

    def _key(self, call: Call) -> Response:
        return json_of({"value": _key_of(call.id.removeprefix("aadsp."))})

    def _identities(self, call: Call) -> Response:
        principal = call.query["subjectDescriptors"].removeprefix("aadsp.")
        found = [{"descriptor": identity_of(principal)}] if principal in self.principals else []
        return list_of(found)

    def _allow(self, call: Call) -> Response:
        body = call.body
        for entry in body["accessControlEntries"]:
            key = call.namespace, body["token"], entry["descriptor"]
            before = self.allowed.get(key, 0) if body.get("merge") else 0
            self.allowed[key] = before | entry["allow"]
        return list_of(body["accessControlEntries"])

    def _lists(self, call: Call) -> Response:
        token, descriptor = call.query["token"], call.query["descriptors"]
        bits = self.allowed.get((call.namespace, token, descriptor), 0)
        entry: dict[str, Any] = {"descriptor": descriptor, "allow": bits, "extendedInfo": {"effectiveAllow": bits}}
        return list_of([{"token": token, "acesDictionary": {descriptor: entry}}] if bits else [])


def _key_of(principal: str) -> str:
    return str(uuid.uuid5(uuid.NAMESPACE_OID, principal))


def identity_of(principal: str) -> str:
    """Return the descriptor of a service principal in access control entries."""
    return f"Microsoft.VisualStudio.Services.Claims.AadServicePrincipal;{_TENANT}\\{principal}"

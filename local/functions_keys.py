"""The keys of the Functions host, and what each of them opens.

https://learn.microsoft.com/azure/azure-functions/function-keys-how-to
"""

from dataclasses import asdict, dataclass
from enum import Enum, auto

from werkzeug.wrappers import Request, Response

from local.kestrel import empty, parameter


class Door(Enum):
    """What needs a key, or none."""

    ANONYMOUS = auto()
    FUNCTION = auto()
    ADMIN_FUNCTION = auto()
    EVENT_GRID = auto()
    ADMIN = auto()


_OPENED_BY = {
    Door.FUNCTION: {"function", "host", "master"},
    Door.ADMIN_FUNCTION: {"master"},
    Door.EVENT_GRID: {"system", "master"},
    Door.ADMIN: {"master"},
}
_OF_THE_HOST = (Door.EVENT_GRID, Door.ADMIN)


@dataclass(frozen=True)
class Keys:
    """The values of the keys; `system` is `eventgrid_extension`. Without any key every door is open."""

    function: str = ""
    host: str = ""
    system: str = ""
    master: str = ""

    def refusal(self, door: Door, request: Request) -> Response | None:
        """Return the answer to a request without a key that opens the door, or None."""
        values = {name: value for name, value in asdict(self).items() if value}
        # A key in the header counts, whatever the query contains.
        given = request.headers.get("x-functions-key") or parameter(request, "code")
        names = {name for name, value in values.items() if value == given}
        if door is Door.ANONYMOUS or not values or names & _OPENED_BY[door]:
            return None
        if door in _OF_THE_HOST and names & {"host", "system"}:
            return empty(403)
        response = empty(401)
        if door in _OF_THE_HOST:
            response.headers["WWW-Authenticate"] = "Bearer"
        return response

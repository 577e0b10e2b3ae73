"""Foreign text, made safe to show."""

import json
from datetime import datetime, timedelta

_MOST_CHARACTERS = 200
_NO_ANSWER = "no answer in time"
# Of the standard library, urllib3 and requests. The first name that occurs decides.
_NETWORK_REASONS = {
    "SSLCertVerificationError": "the TLS certificate is not trusted",
    "CertificateError": "the TLS certificate is not trusted",
    "SSLEOFError": "connection closed before the answer",
    "SSLError": "TLS failure",
    "gaierror": "host name not found",
    "ConnectionRefusedError": "connection refused",
    "ConnectTimeoutError": "connection timed out",
    "TimeoutError": _NO_ANSWER,
    "IncompleteRead": "connection closed before the end of the answer",
    "ConnectionResetError": "connection closed before the answer",
    "ProtocolError": "connection closed before the answer",
    "JSONDecodeError": "the answer is not JSON",
}


def shorten(value: object) -> str:
    """Quote foreign text in a message: at most 200 characters, all of them printable."""
    text = value if isinstance(value, str) else json.dumps(value, default=str)
    printable = "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in text[:_MOST_CHARACTERS])
    return printable + "…" * (len(text) > _MOST_CHARACTERS)


def visible(text: str) -> str:
    """Escape the characters that change how other characters are shown, such as a right-to-left mark."""
    return "".join(c if c.isprintable() or c == "\n" else json.dumps(c)[1:-1] for c in text)


def duration(time: timedelta) -> str:
    """Write a length of time for people, in its largest unit."""
    seconds = round(abs(time.total_seconds()))
    for unit, size, most in (("s", 1, 90), ("min", 60, 90), ("h", 3600, 36)):
        if seconds < most * size:
            return f"{seconds // size} {unit}"
    return f"{seconds // 86400} days"


def relative(time: datetime, now: datetime) -> str:
    """Write a time as people say it."""
    return f"{duration(now - time)} ago" if time <= now else f"in {duration(time - now)}"


def network_reason(error: BaseException, seconds: float = 0) -> str:
    """Return why a request failed, in plain words; empty if the error is not one of the network.

    The names of the classes decide, because the messages of the HTTP libraries contain Python's own text. `seconds` is
    the timeout of the request.
    """
    chain = _chain(error)
    names = {kind.__name__ for one in chain for kind in type(one).__mro__}
    reason = next((reason for name, reason in _NETWORK_REASONS.items() if name in names), "")
    if not reason:
        from_system = [one.strerror for one in chain if isinstance(one, OSError) and one.errno and one.strerror]
        failed = "connection failed" if names & {"HTTPError", "RequestException"} else ""
        reason = from_system[0][0].lower() + from_system[0][1:] if from_system else failed
    if reason == _NO_ANSWER and seconds:
        reason = f"no answer within {seconds:g} s"
    reason += "".join(f" ({one.verify_message})" for one in chain if hasattr(one, "verify_message"))
    return f"cannot connect to the proxy: {reason}" if "ProxyError" in names else reason


def _chain(error: BaseException) -> list[BaseException]:
    chain = [error]
    for one in chain:
        inner = (*one.args, one.__cause__, getattr(one, "reason", None), getattr(one, "inner_exception", None))
        chain += [other for other in inner if isinstance(other, BaseException) and other not in chain]
    return chain


def service_problem(service: str, error: Exception) -> str:
    """Say why a request to an Azure service failed, in plain words; `error` is one of azure-core's."""
    status = getattr(error, "status_code", None)
    if status:
        code = getattr(error, "error_code", None) or getattr(error, "reason", None)
        return f"{service} answered {status}" + (f" ({shorten(getattr(code, 'value', code))})" if code else "")
    reason = network_reason(error) or shorten(getattr(error, "message", "") or "unknown error")
    return f"{service} cannot be reached: {reason}"

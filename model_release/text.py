"""Foreign text, made safe: in a message (`shorten`), in a record (`as_reason`), and where it is shown (`visible`).

The texts of an event are kept whole, and compressed (`compress`).
"""

import base64
import bz2
import json
import re
import zlib
from collections.abc import Iterable, Iterator
from datetime import datetime, timedelta
from urllib.parse import quote, quote_plus

_MOST_CHARACTERS = 200
_MOST_REASON_CHARACTERS = 4_000
_HIDDEN = "[hidden]"
# Shorter texts also occur in other places.
_SHORTEST_SECRET = 8
# Of a longer value, a message may contain the beginning only.
_BEGINNING = 16
_SHORT_VALUE = 3
# A scheme is followed by its credential, unless one plain word follows, such as "Basic authentication".
_CREDENTIALS = re.compile(
    r"""\b(?P<scheme>basic|bearer|sharedkey(?:lite)?)(?:\s|%20|\+)+
        (?!(?-i:[A-Z]?[a-z]{1,15})[,;:.!?)'"]*(?:[\s<]|$))[^\s,;"'<>\\]{8,}
    |(?<=://)[^/\s"'<>?\#\\]+(?=@)
    |(?P<name>(?:[?&;]|%3F|%26)(?:code|sig|token|subscription-key)(?:=|%3D)
        |\b(?:x-functions-key|aeg-sas-key|aeg-sas-token|identity[-_]header|(?:api|subscription)-key|x-ms-token[\w-]+|cookie)
        ["']?\s*[:=,]\s*b?["']?
        |\b(?:accountkey|sharedaccesskey|sharedaccesssignature|(?:access|refresh|id|sas)_token|client_secret|password|pwd|sig)
        (?:["']?=["']?|["']\s*[:,]\s*b?["']))[^\s&;,"'<>\\]+
    |\beyJ[\w-]{4,}\.[\w-]{4,}\.[\w-]*""",
    re.IGNORECASE | re.VERBOSE,
)
# From here on bzip2 needs fewer bytes than zlib, also for text in which nothing repeats.
_LONG_TEXT = 64_000
_BZIP2 = b"BZh"
_UNCHANGED = re.compile(r"[A-Za-z0-9._-]*")
_OF_ADDRESSES = {"+": "-", "/": "_", " ": "+"}
_Form = str | re.Pattern[str]
_secrets: dict[str, tuple[str, tuple[_Form, ...]]] = {}
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
    "OtherServerError": "it redirects to another server",
    "JSONDecodeError": "the answer is not JSON",
}


def shorten(value: object) -> str:
    """Quote foreign text in a message: at most 200 characters, all of them printable."""
    text = redact(value if isinstance(value, str) else json.dumps(value, default=str))
    return _printable(text[:_MOST_CHARACTERS]) + "…" * (len(text) > _MOST_CHARACTERS)


def as_reason(text: str) -> str:
    """Return a text as records keep it: without credentials, at most 4,000 characters, all of them printable."""
    return _printable(redact(text)[:_MOST_REASON_CHARACTERS])


def compress(text: str) -> bytes:
    """Compress a text."""
    encoded = text.encode()
    return bz2.compress(encoded) if len(encoded) > _LONG_TEXT else zlib.compress(encoded)


def decompress(compressed: bytes) -> str:
    """Return the text that was compressed; what follows its end is ignored."""
    one = bz2.BZ2Decompressor() if compressed.startswith(_BZIP2) else zlib.decompressobj()
    return one.decompress(compressed).decode()


def visible(text: str) -> str:
    """Hide our own secrets, and escape what changes how other characters are shown, such as a right-to-left mark."""
    return "".join(c if c.isprintable() or c == "\n" else json.dumps(c)[1:-1] for c in hide_secrets(text))


def safe(text: str) -> str:
    """Return a text as logs and terminals show it: without credentials, and unable to control what shows it."""
    return visible(redact(text))


def keep_secret(name: str, value: str) -> None:
    """Hide a secret of ours in all texts from now on; a new value of the same name replaces the last one."""
    if name not in _secrets or _secrets[name][0] != value:
        _secrets[name] = value, tuple(_forms(value)) if len(value) >= _SHORTEST_SECRET else ()


def hide_secrets(text: str) -> str:
    """Replace our own secrets, however they are encoded."""
    # A secret may be a part of a longer one.
    for _, forms in sorted(_secrets.values(), key=lambda kept: len(kept[0]), reverse=True):
        for form in forms:
            text = text.replace(form, _HIDDEN) if isinstance(form, str) else form.sub(_HIDDEN, text)
    return text


def redact(text: str) -> str:
    """Replace our own secrets, and what looks like a credential of anyone."""
    return _CREDENTIALS.sub(_without_credential, hide_secrets(text))


def hide_values(text: str, values: Iterable[str]) -> str:
    """Replace values that a message of another service repeats, such as those of tags."""
    parts = {part for value in values for form in _written(value) for part in _printable_parts(form)}
    for part in sorted(parts, key=len, reverse=True):
        if part[:_BEGINNING].lower() in text.lower():
            text = re.sub(_repeated(part), _HIDDEN, text, flags=re.IGNORECASE)
    return text


def _forms(secret: str) -> Iterator[_Form]:
    """Return a secret as text, in hexadecimal digits, and in base64."""
    raw = secret.encode()
    yield _form(secret)
    yield raw.hex()
    # Other bytes may precede it, such as those of a user name; of a character that has bits of both, nothing is known.
    for before in range(3):
        begins, ends = -(-before * 8 // 6), (before + len(raw)) * 8 // 6
        yield _form(base64.b64encode(bytes(before) + raw).decode()[begins:ends])


def _form(text: str) -> _Form:
    """Return a text if no encoding changes it, because a long pattern is slow to compile; otherwise its pattern."""
    return text if _UNCHANGED.fullmatch(text) else re.compile("".join(map(_encoded, text)))


def _encoded(character: str) -> str:
    """Return the pattern of a character as it is, in an address, in JSON, and in the base64 of addresses."""
    if _UNCHANGED.fullmatch(character):
        return re.escape(character)
    percent = "".join(f"%(?:25)*{byte:02X}" for byte in character.encode())
    others = [json.dumps(character)[1:-1], _OF_ADDRESSES.get(character, character)]
    return rf"(?:\\?{re.escape(character)}|(?i:{percent}|\\u{ord(character):04x})|{'|'.join(map(re.escape, others))})"


def _written(value: str) -> tuple[str, ...]:
    """Return a value as it is, in JSON, in an address, in a form, and in HTML."""
    from html import escape  # noqa: PLC0415  its table of characters is large, and only a refusal needs it

    return value, json.dumps(value)[1:-1], quote(value, safe=""), quote_plus(value), escape(value)


def _printable(text: str) -> str:
    return "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in text)


def _without_credential(found: re.Match[str]) -> str:
    scheme = f"{found['scheme']} " if found["scheme"] else ""
    return f"{scheme}{found['name'] or ''}{_HIDDEN}"


def _printable_parts(value: str) -> list[str]:
    return "".join(c if c.isprintable() else "\n" for c in value).split("\n")


def _repeated(part: str) -> str:
    """Return the pattern of a value, or of its beginning with as much as follows; a short one is a word of its own."""
    if not part.strip():
        return r"(?!)"
    if len(part) <= _SHORT_VALUE:
        return rf"(?<!\w){re.escape(part)}(?!\w)"
    rest = "".join(f"(?:{re.escape(c)}" for c in part[_BEGINNING:_MOST_CHARACTERS])
    ends = ")?" * len(part[_BEGINNING:_MOST_CHARACTERS])
    return f"{re.escape(part[:_BEGINNING])}{rest}{ends}"


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
    reason = network_reason(error) or shorten(" ".join((getattr(error, "message", "") or "unknown error").split()))
    return f"{service} cannot be reached: {reason}"

"""JSON as Newtonsoft.Json reads and writes it in the Event Grid extension, which changes values on their way.

https://github.com/JamesNK/Newtonsoft.Json
"""

import json
import re
from datetime import UTC, datetime, timedelta, tzinfo
from math import isinf
from typing import Any

_MOST_LEVELS = 64
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_OFFSET = r"(?P<offset>[+-]\d\d)(?::?(?P<minutes>\d\d))?"
_TIME = re.compile(
    rf"(?P<time>\d{{4}}-\d\d-\d\dT\d\d:\d\d:\d\d)(?:\.(?P<fraction>\d{{1,7}}))?(?:(?P<utc>[Zz])|{_OFFSET})?", re.ASCII
)
_MILLISECONDS = re.compile(rf"/Date\((?P<milliseconds>-?\d+)(?:{_OFFSET})?\)/", re.ASCII)
_SURROGATE = re.compile("[\ud800-\udfff]")
_LINE_ENDS = {ord(character): f"\\u{ord(character):04x}" for character in "\x85\u2028\u2029"}
_TEXT = r'(?P<text>"(?:[^"\\]|\\.)*")'
# What JSON does not have: single quotes, comments, names without quotes, and a comma after the last item.
_LENIENT = re.compile(
    _TEXT + r"|'(?P<quoted>(?:[^'\\]|\\.)*)'|(?P<comment>/\*.*?\*/|//[^\r\n]*)|(?P<name>[A-Za-z_$][\w$]*)(?=\s*:)",
    re.DOTALL,
)
_ESCAPE = re.compile(r'\\.|"', re.DOTALL)
_LAST_COMMA = re.compile(_TEXT + r"|,(?=\s*[}\]])", re.DOTALL)


def newtonsoft_read(text: str, time_zone: tzinfo = UTC) -> Any:
    """Read JSON; raises ValueError.

    Times with an offset become times of `time_zone`, the host's own. Fractions lose their zeros, lone surrogates are
    replaced, numbers that are not finite become strings, and of equal names the last one counts.
    """
    try:
        return _rewritten(_load(text), time_zone, 1)
    except RecursionError as error:
        raise ValueError("the JSON is nested too deeply") from error


def newtonsoft_write(value: Any, *, indented: bool = False) -> str:
    """Write JSON in one line, or in several."""
    separators = None if indented else (",", ":")
    text = json.dumps(value, ensure_ascii=False, indent=2 if indented else None, separators=separators)
    return text.translate(_LINE_ENDS)


def _load(text: str) -> Any:
    options: dict[str, Any] = {"strict": False, "parse_float": _float, "parse_constant": str}
    try:
        return json.loads(text, **options)
    except ValueError:
        strict = _LENIENT.sub(_strict, text)
        return json.loads(_LAST_COMMA.sub(lambda found: found["text"] or "", strict), **options)


def _strict(found: re.Match[str]) -> str:
    match found.lastgroup:
        case "quoted":
            return '"' + _ESCAPE.sub(lambda part: _in_double_quotes(part[0]), found["quoted"]) + '"'
        case "name":
            return f'"{found[0]}"'
        case "comment":
            return ""
    return found[0]


def _in_double_quotes(part: str) -> str:
    return {'"': r"\"", r"\'": "'"}.get(part, part)


def _float(text: str) -> float | str:
    number = float(text)
    return ("-" if number < 0 else "") + "Infinity" if isinf(number) else number


def _rewritten(value: Any, time_zone: tzinfo, level: int) -> Any:
    if isinstance(value, str):
        return _rewritten_time(_whole(value), time_zone)
    if not isinstance(value, dict | list):
        return value
    if level > _MOST_LEVELS:
        raise ValueError(f"the JSON has more than {_MOST_LEVELS} levels")
    if isinstance(value, list):
        return [_rewritten(item, time_zone, level + 1) for item in value]
    return {_whole(name): _rewritten(item, time_zone, level + 1) for name, item in value.items()}


def _whole(text: str) -> str:
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace") if _SURROGATE.search(text) else text


def _rewritten_time(text: str, time_zone: tzinfo) -> str:
    found = _TIME.fullmatch(text) or _MILLISECONDS.fullmatch(text)
    try:
        return _time(found.groupdict(), time_zone) if found else text
    except (ValueError, OverflowError):
        return text


def _time(parts: dict[str, str], time_zone: tzinfo) -> str:
    if "milliseconds" in parts:
        moment = _EPOCH + timedelta(milliseconds=int(parts["milliseconds"]))
        fraction = f"{moment.microsecond:06}"
        moment, is_utc = moment.replace(microsecond=0), not parts["offset"]
    else:
        sign = -1 if (parts["offset"] or "").startswith("-") else 1
        offset = timedelta(hours=int(parts["offset"] or 0), minutes=sign * int(parts["minutes"] or 0))
        moment = datetime.fromisoformat(parts["time"]).replace(tzinfo=UTC) - offset
        fraction, is_utc = parts["fraction"] or "", bool(parts["utc"])
    written = (moment.astimezone(time_zone) if parts["offset"] else moment).isoformat()
    zone = written[19:] if parts["offset"] else "Z" if is_utc else ""
    return written[:19] + f".{fraction}".rstrip("0").rstrip(".") + zone

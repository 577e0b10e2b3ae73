"""Log Analytics: rows as the Functions host sends them, and alert rules as Azure evaluates them."""

import json
import logging
import operator
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import cache
from itertools import chain
from pathlib import Path
from typing import Any

import duckdb_kql

from model_release.app import HOME

# One item of each kind, as the host 4.1037 sent it to a recording endpoint.
TELEMETRY = Path(__file__).parent / "telemetry.jsonl"
_DUCKDB = {
    "datetime": "TIMESTAMP",
    "string": "VARCHAR",
    "dynamic": "VARCHAR",
    "int": "INTEGER",
    "bool": "BOOLEAN",
    "real": "DOUBLE",
}
_OPERATORS = {"GreaterThan": operator.gt, "LessThan": operator.lt}
Row = Mapping[str, Any]


@cache
def _items() -> dict[str, Any]:
    return {one["kind"]: one for one in map(json.loads, TELEMETRY.read_text().splitlines())}


def row(kind: str, function: str, operation: str, time: datetime, text: str = "") -> tuple[str, Row]:
    """Return the table and the row of an item, for another function, operation, time and message or cause."""
    item = json.loads(json.dumps(_items()[kind]).replace("model_registered", function or "model_registered"))
    data, of_call = item["data"]["baseData"], "ai.operation.id" in item["tags"]
    values: dict[str, Any] = {
        "TimeGenerated": time.replace(tzinfo=None),
        "Properties": json.dumps(data["properties"]),
        "OperationId": operation if of_call else "",
        "OperationName": item["tags"].get("ai.operation.name", ""),
    }
    if item["name"] == "AppTraces":
        values["Message"] = text or data["message"]
    elif item["name"] == "AppRequests":
        hours, minutes, seconds = data["duration"].split(":")
        milliseconds = 1000 * (int(hours) * 3600 + int(minutes) * 60 + float(seconds))
        values |= {"Name": data["name"], "Success": data["success"], "ResultCode": data["responseCode"]}
        values |= {"Id": data["id"], "DurationMs": milliseconds}
    else:
        outer, inner = data["exceptions"][0], data["exceptions"][-1]
        values |= {"OuterType": outer["typeName"], "OuterMessage": outer["message"], "InnermostType": inner["typeName"]}
        values |= {"ExceptionType": outer["typeName"], "InnermostMessage": text or inner["message"]}
    return item["name"], values


@dataclass
class Logs(logging.Handler):
    """Collects what the app logs as rows; as a handler of the root logger, it also collects exceptions."""

    clock: Callable[[], datetime]
    rows: list[tuple[str, Row]] = field(default_factory=list)

    def __post_init__(self) -> None:
        super().__init__()
        self._calls = 0
        self._lines: list[str] = []
        self._cause = ""

    __hash__ = logging.Handler.__hash__

    def emit(self, record: logging.LogRecord) -> None:
        if record.name == "model_release.log":
            self._lines.append(record.getMessage())
        elif record.name == "local.functions_worker" and record.exc_info and record.exc_info[1]:
            error = record.exc_info[1]
            self._cause = f"Result: Failure\nException: {type(error).__name__}: {error}\nStack: …"

    def call(self, function: str, do: Callable[[], int]) -> None:
        """Call a function of the app, and add the rows that the host sends for it."""
        self._calls += 1
        self._lines, self._cause = [], ""
        failed = do() >= 400 or bool(self._cause)
        self.add("executing", function)
        for line in self._lines:
            self.add("line", function, line)
        if failed:
            self.add("executed failed", function)
            for kind in ("exception of the function", "exception of the host"):
                self.add(kind, function, self._cause)
        else:
            self.add("executed", function)
        self.add("request failed" if failed else "request", function)

    def add(self, kind: str, function: str = "", text: str = "") -> None:
        """Add a row now."""
        self.rows.append(row(kind, function, f"operation {self._calls}", self.clock(), text))


@cache
def _tables() -> dict[str, dict[str, str]]:
    return dict(json.loads((HOME / "infra/tables.json").read_text()))


@cache
def _sql(query: str) -> str:
    """Translate a query; its translation takes longer than its answer."""
    return duckdb_kql.to_sql(query, {table: list(columns) for table, columns in _tables().items()})


def workspace(rows: list[tuple[str, Row]]) -> Any:
    """Return a connection to a Log Analytics workspace with these rows."""
    con = duckdb_kql.connect()
    for table, columns in _tables().items():
        con.execute(f"CREATE TABLE {table} ({', '.join(f'{name} {_DUCKDB[kind]}' for name, kind in columns.items())})")
        values = [[one.get(name) for name in columns] for of, one in rows if of == table]
        if values:
            places = ", ".join([f"({', '.join('?' * len(columns))})"] * len(values))
            con.execute(f"INSERT INTO {table} VALUES {places}", list(chain.from_iterable(values)))
    return con


def ask(query: str, con: Any) -> list[dict[str, Any]]:
    """Return the rows that a query finds in a workspace."""
    found = con.sql(_sql(query))
    names = [column[0] for column in found.description]
    return [dict(zip(names, one, strict=True)) for one in found.fetchall()]


def fires(rule: Mapping[str, Any], logs: Logs, at: datetime) -> list[tuple[Any, ...]]:
    """Return the dimensions for which a rule fires; without dimensions one empty tuple."""
    (criterion,) = rule["criteria"]["allOf"]
    window = timedelta(minutes=_minutes(rule["windowSize"]))
    end = at.replace(tzinfo=None)
    rows = [(table, one) for table, one in logs.rows if end - window < one["TimeGenerated"] <= end]
    dimensions = [one["name"] for one in criterion.get("dimensions", [])]
    groups: dict[tuple[Any, ...], list[dict[str, Any]]] = {} if dimensions else {(): []}
    for found in ask(criterion["query"], workspace(rows)):
        groups.setdefault(tuple(found[name] for name in dimensions), []).append(found)
    compare = _OPERATORS[criterion["operator"]]
    return [key for key, found in groups.items() if _measured(criterion, found, compare)]


def _measured(criterion: Mapping[str, Any], found: list[dict[str, Any]], compare: Callable[[Any, Any], bool]) -> bool:
    if criterion["timeAggregation"] == "Count":
        return compare(len(found), criterion["threshold"])
    values = [one[criterion["metricMeasureColumn"]] for one in found]
    values = [value for value in values if value is not None]
    aggregate = {"Maximum": max, "Minimum": min}[criterion["timeAggregation"]]
    return bool(values) and compare(aggregate(values), criterion["threshold"])


def _minutes(duration: str) -> int:
    hours, minutes = re.fullmatch(r"PT(?:(\d+)H)?(?:(\d+)M)?", duration).groups()
    return 60 * int(hours or 0) + int(minutes or 0)

"""The figures of the bench, most of them ratios of two sides of one run, and their tables."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from statistics import median, quantiles


@dataclass(frozen=True)
class Figure:
    """One figure, with or without a limit."""

    name: str
    value: float
    unit: str = ""
    behind: str = ""
    at_most: float | None = None
    at_least: float | None = None

    @property
    def limit(self) -> str:
        """The limit as text, empty without one."""
        if self.at_most is not None:
            return f"at most {self.at_most:g}{_unit(self.unit)}"
        return f"at least {self.at_least:g}{_unit(self.unit)}" if self.at_least is not None else ""

    @property
    def met(self) -> bool:
        """Whether the limit holds for the figure as shown."""
        value = round(self.value, 2)
        return value <= (self.at_most or value) and value >= (self.at_least or value)

    @property
    def row(self) -> str:
        """A line of a Markdown table."""
        met = ("yes" if self.met else "**no**") if self.limit else ""
        return f"| {self.name} | {shown(self.value, self.unit)} | {self.behind} | {self.limit} | {met} |"


@dataclass(frozen=True)
class Section:
    """The figures of one measurement."""

    title: str
    figures: Sequence[Figure]


def ratio(
    name: str,
    ours: float,
    theirs: float,
    unit: str,
    *,
    at_most: float | None = None,
    at_least: float | None = None,
) -> Figure:
    """Divide our side by the other."""
    behind = f"{shown(ours, unit)} : {shown(theirs, unit)}"
    return Figure(name, ours / theirs, behind=behind, at_most=at_most, at_least=at_least)


def p50(seconds: Sequence[float]) -> float:
    """Return the median in milliseconds."""
    return median(seconds) * 1000


def p95(seconds: Sequence[float]) -> float:
    """Return the 95th percentile in milliseconds."""
    return quantiles(seconds, n=20, method="inclusive")[-1] * 1000


def table(figures: Iterable[Figure]) -> str:
    """Return the figures as a Markdown table."""
    head = "| figure | measured | ours : theirs | limit | met? |\n|---|---|---|---|---|"
    return "\n".join([head, *(figure.row for figure in figures)])


def shown(value: float, unit: str) -> str:
    """Return a value with three significant digits."""
    digits = 0 if value >= 100 else 1 if value >= 10 else 2  # noqa: PLR2004
    return f"{value:,.{digits}f}{_unit(unit)}"


def _unit(unit: str) -> str:
    return f" {unit}" if unit else ""

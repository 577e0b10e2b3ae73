"""What a bench finds: figures, most of them ratios of two sides of one run, and how they are shown."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from statistics import median, quantiles


@dataclass(frozen=True)
class Figure:
    """One figure; without a limit it only tells what is behind another."""

    what: str
    value: float
    unit: str = ""
    behind: str = ""
    at_most: float | None = None
    at_least: float | None = None

    @property
    def limit(self) -> str:
        """The limit in words, nothing without one."""
        if self.at_most is not None:
            return f"at most {self.at_most:g}{_unit(self.unit)}"
        return f"at least {self.at_least:g}{_unit(self.unit)}" if self.at_least is not None else ""

    @property
    def met(self) -> bool:
        """Whether the limit holds, as the figure is shown."""
        value = round(self.value, 2)
        return value <= (self.at_most or value) and value >= (self.at_least or value)

    @property
    def row(self) -> str:
        """A line of a Markdown table."""
        met = ("yes" if self.met else "**no**") if self.limit else ""
        return f"| {self.what} | {shown(self.value, self.unit)} | {self.behind} | {self.limit} | {met} |"


@dataclass(frozen=True)
class Section:
    """The figures of one measurement."""

    title: str
    figures: Sequence[Figure]


def ratio(
    what: str,
    ours: float,
    theirs: float,
    unit: str,
    *,
    at_most: float | None = None,
    at_least: float | None = None,
) -> Figure:
    """Our side over another."""
    behind = f"{shown(ours, unit)} : {shown(theirs, unit)}"
    return Figure(what, ours / theirs, behind=behind, at_most=at_most, at_least=at_least)


def p50(seconds: Sequence[float]) -> float:
    """The median, in milliseconds."""
    return median(seconds) * 1000


def p95(seconds: Sequence[float]) -> float:
    """What 95 in a hundred do not exceed, in milliseconds."""
    return quantiles(seconds, n=20, method="inclusive")[-1] * 1000


def table(figures: Iterable[Figure]) -> str:
    """The figures as a Markdown table."""
    head = "| what | measured | ours : theirs | limit | met? |\n|---|---|---|---|---|"
    return "\n".join([head, *(figure.row for figure in figures)])


def shown(value: float, unit: str) -> str:
    """A value with as many digits as are worth reading."""
    digits = 0 if value >= 100 else 1 if value >= 10 else 2  # noqa: PLR2004
    return f"{value:,.{digits}f}{_unit(unit)}"


def _unit(unit: str) -> str:
    return f" {unit}" if unit else ""

"""How much is measured."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Options:
    """How many rounds, events, starts and reads; for which delays of Azure DevOps in ms, and which sizes of the ledger.

    The limits are for a delay of 150 ms, and for the largest ledger against the smallest.
    """

    rounds: int = 120
    burst: int = 1_000
    cold_starts: int = 7
    reads: int = 30
    delays: tuple[int, ...] = (150, 20)
    claims: tuple[int, ...] = (100, 10_000, 100_000)


WHOLE = Options()
QUICK = Options(rounds=15, burst=60, cold_starts=1, reads=10, delays=(150,), claims=(100, 500))

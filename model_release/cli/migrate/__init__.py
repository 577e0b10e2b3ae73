"""Move from the classic extension's triggers to a release map."""

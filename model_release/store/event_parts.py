"""The event of a row: its text in UTF-8, compressed, in as many binary properties as it needs.

| property | for |
|---|---|
| `event0`, `event1`, … | the parts of the compressed event |
"""

import zlib
from collections.abc import Mapping
from itertools import count, takewhile
from typing import Any

# A property holds 64 KiB, of which this is a little less.
# https://learn.microsoft.com/rest/api/storageservices/understanding-the-table-service-data-model
PART_BYTES = 64_000
_EVENT = "event"


def split(values: Mapping[str, Any]) -> dict[str, Any]:
    """Replace the event among the values of a row, if it is one of them, by its parts."""
    row = dict(values)
    if _EVENT in row:
        compressed = zlib.compress(row.pop(_EVENT).encode())
        starts = range(0, len(compressed), PART_BYTES)
        row |= {f"{_EVENT}{number}": compressed[at : at + PART_BYTES] for number, at in enumerate(starts)}
    return row


def join(row: Mapping[str, Any]) -> str:
    """Return the event of a row."""
    names = takewhile(row.__contains__, (f"{_EVENT}{number}" for number in count()))
    # The parts of a longer event, which this one replaced, may follow; the end of the compressed text is known.
    return zlib.decompressobj().decompress(b"".join(row[name] for name in names)).decode()

"""Why a model version has its state: a sentence for people, and its kind, from which the advice follows (pure)."""

from collections.abc import Iterable
from enum import StrEnum
from typing import NamedTuple, Self

from model_release.text import hide_values


class ReasonKind(StrEnum):
    """The kind of a reason; it is set where the reason is made, and stored with it. Other values are read as NONE."""

    # Before the first attempt has ended.
    NONE = ""
    # Started.
    ROUTE_MATCHED = "route_matched"
    RESTARTED = "restarted"
    FOUND_BY_MARKER = "found_by_marker"
    # Another attempt may succeed.
    THROTTLED = "throttled"
    UNAVAILABLE = "unavailable"
    NO_TOKEN = "no_token"  # noqa: S105  a kind
    LEASE_USED_UP = "lease_used_up"
    TARGET_CHANGED = "target_changed"
    OLDER_IN_FLIGHT = "older_in_flight"
    NEWEST_FIRST = "newest_first"
    PINNED = "pinned"
    # Azure ML.
    NOT_REGISTERED = "not_registered"
    AZURE_ML_UNREADABLE = "azure_ml_unreadable"
    # A release may have been created.
    NO_ANSWER = "no_answer"
    NOT_FOUND_YET = "not_found_yet"
    SEARCH_FAILED = "search_failed"
    # A person must change something.
    REFUSED = "refused"
    SIGN_IN_REFUSED = "sign_in_refused"
    WRONG_ADDRESS = "wrong_address"
    TARGET_NOT_FOUND = "target_not_found"
    TARGET_AMBIGUOUS = "target_ambiguous"
    TARGET_REPLACED = "target_replaced"
    TARGET_MISFIT = "target_misfit"
    VERSION_FORMAT_UNKNOWN = "version_format_unknown"
    # Something else was sent, or a person decided.
    NEWER_SENT = "newer_sent"
    SENT_MANUALLY = "sent_manually"
    OLDER_KEPT = "older_kept"
    PIN_SET = "pin_set"
    PIN_REPLACED = "pin_replaced"
    PIN_REMOVED = "pin_removed"
    MARK_SET_BACK = "mark_set_back"
    # The release map.
    ROUTE_MOVED = "route_moved"
    TARGET_RENAMED = "target_renamed"
    NOT_A_SOURCE = "not_a_source"
    MODEL_NOT_NAMED = "model_not_named"
    ROUTE_DISABLED = "route_disabled"
    OTHER_SOURCE = "other_source"
    OTHER_VERSION = "other_version"
    OTHER_VALUE = "other_value"
    VALUE_MISSING = "value_missing"
    VALUE_FORBIDDEN = "value_forbidden"
    NO_ROUTE_MATCHES = "no_route_matches"
    EVENT_UNREADABLE = "event_unreadable"

    @classmethod
    def _missing_(cls, _: object) -> Self:
        return cls.NONE


class Reason(NamedTuple):
    """A sentence for people, and the same without the values of tags and properties, for the log."""

    kind: ReasonKind
    text: str
    log: str = ""

    @property
    def for_log(self) -> str:
        """The sentence that the log may contain."""
        return self.log or self.text

    def without(self, values: Iterable[str]) -> Self:
        """Hide values, which Azure DevOps may repeat, in what the log may contain."""
        hidden = hide_values(self.text, values)
        return self._replace(log=hidden) if hidden != self.text else self

    def only_for_people(self, more: str) -> Self:
        """Add a text with values to the sentence for people."""
        return self._replace(text=f"{self.text}; {more}", log=self.for_log)

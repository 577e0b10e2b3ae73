"""The pace of reads: ten a second on all threads, none during a pause, and nothing that waits for long."""

from datetime import timedelta
from typing import Any

import pytest
from werkzeug.wrappers import Request, Response

from local.serving import Server
from model_release.azure_ml.items import AzureMlError
from model_release.azure_ml.models import AzureMl
from model_release.azure_ml.pace import Pace
from tests.azure_ml.test_models import CREDENTIAL, WORKSPACE

MINUTE = timedelta(minutes=1)


class VirtualTime:
    """A clock that sleeping moves."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds

    def pace(self) -> Pace:
        return Pace(self, self.sleep)


def test_ten_reads_begin_in_each_second() -> None:
    time = VirtualTime()
    pace, begun = time.pace(), []
    for _ in range(31):
        assert pace.wait(MINUTE) is None
        begun.append(time.now - 100)

    assert begun == pytest.approx([number / 10 for number in range(31)])


def test_no_read_begins_during_a_pause() -> None:
    time = VirtualTime()
    pace = time.pace()
    pace.pause(30 * timedelta(seconds=1))
    pace.pause(timedelta(seconds=5))

    assert pace.wait(MINUTE) is None
    assert time.now == pytest.approx(130)


def test_a_pause_that_is_too_long_is_not_waited_for() -> None:
    time = VirtualTime()
    pace = time.pace()
    pace.pause(2 * MINUTE)

    assert pace.wait(MINUTE) == 2 * MINUTE
    assert time.now == 100
    time.now += 60
    assert pace.wait(MINUTE) is None
    assert time.now == 220


class Bucket:
    """Azure Resource Manager's limit: 250 reads, and 25 more each second; another program reads too."""

    def __init__(self, time: VirtualTime, others: float) -> None:
        self.time, self.others = time, others
        self.left, self.filled, self.refused, self.read = 250.0, time.now, 0, 0
        self.paused_until, self.too_early = 0.0, 0

    def __call__(self, _: Request) -> Response:
        passed, self.filled = self.time.now - self.filled, self.time.now
        self.left = min(250.0, max(0.0, self.left + passed * (25 - self.others)))
        self.too_early += self.time.now < self.paused_until
        if self.left < 1:
            self.refused += 1
            self.paused_until = self.time.now + 17
            return Response('{"error": {"code": "SubscriptionRequestsThrottled"}}', 429, {"Retry-After": "17"})
        self.left -= 1
        self.read += 1
        return Response('{"value": []}', mimetype="application/json")


@pytest.mark.parametrize(("others", "refused"), [(0, False), (15, False), (22, True)])
def test_lists_stay_below_the_limit_and_keep_each_pause(others: float, *, refused: bool) -> None:
    time = VirtualTime()
    bucket = Bucket(time, others)
    with Server(bucket) as server:
        azure_ml = AzureMl(CREDENTIAL, endpoint=server.url, pace=time.pace())
        # The retry policy would really sleep.
        azure_ml._resource_manager._client._pipeline._transport.sleep = time.sleep  # type: ignore[attr-defined,method-assign]
        for _ in range(400):
            assert list(azure_ml.models(WORKSPACE, skip=pytest.fail)) == []

    assert (bucket.read, bucket.too_early, bucket.refused > 0) == (400, 0, refused)


def test_a_long_pause_ends_the_list_and_the_next_read_is_not_sent() -> None:
    requests: list[Request] = []

    def throttles(request: Request) -> Response:
        requests.append(request)
        return Response("{}", 429, {"Retry-After": "600"})

    def read(azure_ml: AzureMl) -> Any:
        with pytest.raises(AzureMlError) as caught:
            list(azure_ml.models(WORKSPACE, skip=pytest.fail))
        return caught.value

    with Server(throttles) as server:
        azure_ml = AzureMl(CREDENTIAL, endpoint=server.url, pace=VirtualTime().pace())
        first, second = read(azure_ml), read(azure_ml)

    assert len(requests) == 1
    assert first.retry_after == second.retry_after == 10 * MINUTE
    assert "Azure Resource Manager asked for a pause, which lasts 600 s more" in str(second)

"""Retries against a serving process behind a proxy that fails: what is sent again, how often, and that it is recorded once."""

import asyncio
import time
from collections.abc import Callable, Iterator

import pytest

from feedbackloop import APIError, AsyncClient, Client
from storage.events import ResponseRated, new_id
from tests.feedbackloop.serving_process import Proxy, ServingProcess, proxy_before

pytestmark = pytest.mark.processes


@pytest.fixture
def proxy(running: ServingProcess) -> Iterator[Proxy]:
    with proxy_before(running.url) as between:
        yield between


def reasons(serving: ServingProcess) -> list[str | None]:
    return [event.reason for event in serving.events() if isinstance(event, ResponseRated)]


def sync_thumb(url: str, retries: int, reason: str) -> None:
    with Client(url, retries=retries) as client:
        assert client.rate("c-1", "up", recruiter="Ana", reason=reason).event_id is not None


def async_thumb(url: str, retries: int, reason: str) -> None:
    async def thumb() -> None:
        async with AsyncClient(url, retries=retries) as client:
            assert (await client.rate("c-1", "up", recruiter="Ana", reason=reason)).event_id is not None

    asyncio.run(thumb())


Thumb = Callable[[str, int, str], None]
both = pytest.mark.parametrize("thumb", [sync_thumb, async_thumb])


@both
@pytest.mark.parametrize("failures", [[429, 503], [502, 504], ["lost", "silent"]])
def test_a_temporary_failure_is_retried_with_the_same_key_and_recorded_once(
    proxy: Proxy, running: ServingProcess, thumb: Thumb, failures: list[int | str]
) -> None:
    proxy.plan, reason = list(failures), str(new_id())
    thumb(proxy.url, 2, reason)
    assert len(proxy.keys) == 3
    assert len(set(proxy.keys)) == 1
    assert None not in proxy.keys
    assert reasons(running).count(reason) == 1


@both
def test_retries_are_bounded_and_what_is_not_temporary_has_none(proxy: Proxy, thumb: Thumb) -> None:
    proxy.plan = [503, 503]
    with pytest.raises(APIError) as failed:
        thumb(proxy.url, 1, "unlucky")
    assert (failed.value.status, failed.value.temporary, len(proxy.keys)) == (503, True, 2)
    proxy.plan = [500]
    with pytest.raises(APIError) as failed:
        thumb(proxy.url, 5, "unlucky")
    assert (failed.value.status, failed.value.temporary, len(proxy.keys)) == (500, False, 3)


@both
def test_a_long_retry_after_is_not_waited_for(proxy: Proxy, thumb: Thumb) -> None:
    proxy.plan = ["503 later"]
    began = time.monotonic()
    with pytest.raises(APIError) as failed:
        thumb(proxy.url, 5, "later")
    assert failed.value.retry_after == 3600
    assert len(proxy.keys) == 1
    assert time.monotonic() - began < 5


def test_a_chat_is_sent_again_only_if_the_first_request_had_no_effect(proxy: Proxy) -> None:
    with Client(proxy.url) as client:
        proxy.plan = [429, 503]
        assert client.chat("When?").text
        assert len(proxy.keys) == 3
        for failure in ("lost", 502, 504):
            proxy.plan, before = [failure], len(proxy.keys)
            with pytest.raises(APIError):
                client.chat("When?")
            assert len(proxy.keys) == before + 1


def test_feedback_carries_a_key_of_its_own_or_the_callers(proxy: Proxy) -> None:
    key = new_id()
    with Client(proxy.url) as client:
        first = client.rate("c-1", "up", recruiter="Ana", idempotency_key=key)
        assert client.rate("c-1", "up", recruiter="Ana", idempotency_key=key) == first
        pair = client.add_pair("when ?", ("on monday", "soon"), idempotency_key=key)
        assert client.add_pair("when ?", ("on monday", "soon"), idempotency_key=key) == pair
        client.bulk([{"type": "thumb", "conversation_id": "c-1", "recruiter": "Ana", "thumb": "up"}])
        client.record_groups("ana", {"sex": "female"})
    assert proxy.keys[:4] == [str(key)] * 4
    assert len(set(proxy.keys[4:])) == 2

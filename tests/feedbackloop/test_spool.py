"""The spool against a serving process that is down, comes back and is killed: in order, once, and nothing lost."""

import asyncio
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from feedbackloop import APIError, AsyncClient, Client, Spool, SpoolError, SpoolFull
from storage.events import JudgmentGiven, OutcomeRecorded, PairDrawn, ResponseRated, new_id
from tests.feedbackloop.serving_process import ServingProcess, proxy_before

pytestmark = pytest.mark.processes

ROOT = Path(__file__).parents[2]


def thumbs(serving: ServingProcess, conversation: str) -> list[str | None]:
    """Reasons of the thumbs in a conversation, in log order."""
    return [event.reason for event in serving.events() if isinstance(event, ResponseRated) and event.conversation_id == conversation]


def say(client: Client, conversation: str, *reasons: str) -> list[bool]:
    """Record thumbs; return which were spooled."""
    return [client.rate(conversation, "up", recruiter="Ana", reason=reason).spooled for reason in reasons]


def test_feedback_around_the_death_of_the_server_arrives_in_order_and_once(serving: ServingProcess, file: Path) -> None:
    serving.start()
    with proxy_before(serving.url) as proxy, Client(proxy.url, spool=file, retries=0) as client:
        assert say(client, "c-down", "1") == [False]
        proxy.plan = ["lost", "lost"]  # the server records what the client has to keep
        assert say(client, "c-down", "2", "3") == [True, True]
        serving.kill()
        proxy.plan = ["silent"] * 7
        assert say(client, "c-down", "4") == [True]
        pair = client.add_pair("when ?", ("on monday", "soon"))
        assert (pair.spooled, pair.event_id) == (True, None)
        assert client.judge(pair.pair_id, recruiter="Ana", choice="A").spooled
        assert client.record_groups("ana", {"sex": "female"}).spooled
        assert client.bulk([{"type": "thumb", "conversation_id": "c-down", "recruiter": "Ana", "thumb": "up", "reason": "5"}]).spooled
        with pytest.raises(APIError, match="does not answer") as failed:
            client.chat("When?")
        assert failed.value.temporary
        with pytest.raises(APIError, match="does not answer"):
            client.flush()
        assert client.spool is not None
        assert client.spool.waiting() == 7
        serving.start()  # it has forgotten the keys; the ids of events derive from them
        assert client.flush() == 7
        assert say(client, "c-down", "6") == [False]
        assert proxy.keys[1] == proxy.keys[2] == proxy.keys[3]
    sent = [event for event in serving.events() if isinstance(event, ResponseRated) and event.conversation_id == "c-down"]
    once = {event.event_id: event.reason for event in sent}  # the warehouse keeps one event of an id
    assert list(once.values()) == ["1", "2", "3", "4", "5", "6"]
    about_it = [type(event) for event in serving.events() if isinstance(event, PairDrawn | JudgmentGiven) and event.pair_id == pair.pair_id]
    assert sorted(about_it, key=str) == [JudgmentGiven, PairDrawn]


def test_a_chat_or_opening_the_spool_sends_what_waits_and_so_does_flush(running: ServingProcess, file: Path) -> None:
    nowhere = Client("http://127.0.0.1:9", spool=file, retries=0)
    assert say(nowhere, "c-later", "1") == [True]
    client = Client(running.url, spool=file)
    client.chat("When?")
    assert thumbs(running, "c-later") == ["1"]
    assert say(nowhere, "c-later", "2") == [True]
    with Client(running.url, spool=file):
        assert thumbs(running, "c-later") == ["1", "2"]
    assert say(nowhere, "c-later", "3") == [True]
    assert client.flush() == 1
    assert client.flush() == 0
    assert thumbs(running, "c-later") == ["1", "2", "3"]
    with pytest.raises(ValueError, match="no spool"):
        Client(running.url).flush()


def test_what_the_server_refuses_is_kept_aside_with_the_reason(running: ServingProcess, file: Path) -> None:
    nowhere = Client("http://127.0.0.1:9", spool=file, retries=0)
    assert nowhere.judge(new_id(), recruiter="Ana", choice="A", strength=5).spooled
    thumb = {"type": "thumb", "conversation_id": "c-aside", "recruiter": "Ana", "thumb": "up"}
    assert nowhere.bulk([thumb | {"reason": "1"}, thumb | {"thumb": "sideways"}]).spooled
    assert say(nowhere, "c-aside", "2") == [True]
    with Client(running.url, spool=file) as client:
        client.flush()
        spool = client.spool
        assert spool is not None
        assert spool.waiting() == 0
        assert thumbs(running, "c-aside") == ["1", "2"]
        judgment, bulk = spool.refused()
        assert (judgment.path, judgment.status, judgment.fields["strength"]) == ("/v1/feedback", 400, 5)
        assert "strength" in (judgment.reason or "")
        assert (bulk.status, bulk.fields["items"]) == (207, [thumb | {"thumb": "sideways"}])
        assert "thumb" in (bulk.reason or "")
        with pytest.raises(APIError, match="strength"):
            client.judge(new_id(), recruiter="Ana", choice="A", strength=5)
        assert len(spool.refused()) == 2, "a refusal that the caller has seen is not kept"
        spool.forget(judgment)
        spool.requeue(bulk)
        assert client.flush() == 1
        assert [call.fields for call in spool.refused()] == [bulk.fields]


SENDER = """
import sys
from feedbackloop import Client
client = Client(sys.argv[1], spool=sys.argv[2], retries=0)
for number in range(20):
    client.rate("c-shared", "up", recruiter="Ana", reason=f"{sys.argv[3]} {number}")
client.flush()
"""


def product(program: str, *arguments: object) -> subprocess.Popen[str]:
    """A product's process."""
    return subprocess.Popen([sys.executable, "-c", program, *map(str, arguments)], stdout=subprocess.PIPE, text=True, cwd=ROOT)


def test_two_processes_share_a_spool_and_each_keeps_its_order(running: ServingProcess, file: Path) -> None:
    offline = Client("http://127.0.0.1:9", spool=file, retries=0)
    say(offline, "c-shared", *(f"offline {number}" for number in range(10)))
    for process in [product(SENDER, running.url, file, name) for name in ("ana", "ben")]:
        assert process.wait(60) == 0
    sent = thumbs(running, "c-shared")
    for name, count in (("offline", 10), ("ana", 20), ("ben", 20)):
        assert [reason for reason in sent if reason is not None and reason.startswith(name)] == [f"{name} {n}" for n in range(count)]
    assert sent[:10] == [f"offline {number}" for number in range(10)]
    assert Spool(file).waiting() == 0


PRODUCT = """
import sys
from feedbackloop import Client
client = Client("http://127.0.0.1:9", spool=sys.argv[1], retries=0)
for number in range(10**6):
    client.rate("c-killed", "up", recruiter="Ana", reason=str(number))
    print(number, flush=True)
"""


def test_a_product_killed_at_any_moment_has_lost_nothing_that_was_returned(running: ServingProcess, file: Path) -> None:
    killed = product(PRODUCT, file)
    assert killed.stdout is not None
    for _ in range(15):
        killed.stdout.readline()
    killed.kill()
    returned = 15 + len(killed.stdout.read().split())
    killed.wait()
    with Client(running.url, spool=file) as client:
        client.flush()
    sent = thumbs(running, "c-killed")
    assert sent == [str(number) for number in range(len(sent))]
    assert len(sent) in (returned, returned + 1)


def test_a_full_spool_is_an_error_and_sending_makes_room(running: ServingProcess, file: Path) -> None:
    spool = Spool(file, max_bytes=64 * 1024)
    nowhere = Client("http://127.0.0.1:9", spool=spool, retries=0)
    with pytest.raises(SpoolFull, match="limit of 65,536 bytes is reached"):
        say(nowhere, "c-full", *["x" * 5000] * 100)
    kept = spool.waiting()
    assert 5 < kept < 13
    say(Client(running.url, spool=spool), "c-full", "last")
    Client(running.url, spool=spool).flush()
    assert len(thumbs(running, "c-full")) == kept + 1
    assert say(nowhere, "c-full", "x" * 5000) == [True], "its pages are used again"


def test_the_asynchronous_client_has_the_same_spool(running: ServingProcess, file: Path) -> None:
    async def scenario() -> None:
        async with AsyncClient("http://127.0.0.1:9", spool=file, retries=0) as offline:
            receipts = [await offline.rate("c-async", "up", recruiter="Ana", reason=str(number)) for number in range(3)]
            assert all(receipt.spooled for receipt in receipts)
            with pytest.raises(APIError, match="does not answer"):
                await offline.flush()
        async with AsyncClient(running.url, spool=file) as client:
            await asyncio.gather(*(client.rate("c-async", "up", recruiter="Ana", reason=str(number)) for number in range(3, 6)))
            await client.flush()

    asyncio.run(scenario())
    sent = thumbs(running, "c-async")
    assert sent[:3] == ["0", "1", "2"]
    assert sorted(sent[3:], key=str) == ["3", "4", "5"]


def test_the_file_is_private_and_another_file_is_refused(tmp_path: Path, file: Path) -> None:
    Spool(file)
    assert {stat.S_IMODE(each.stat().st_mode) for each in tmp_path.iterdir()} == {0o600}
    (tmp_path / "letter").write_text("Dear Ana, " * 100)
    with pytest.raises(SpoolError, match="letter: file is not a database"):
        Spool(tmp_path / "letter")
    with pytest.raises(SpoolError, match="Is a directory"):
        Client(spool=tmp_path)


def test_an_outcome_in_the_spool_is_recorded_later(running: ServingProcess, file: Path) -> None:
    nowhere = Client("http://127.0.0.1:9", spool=file, retries=0)
    assert nowhere.record_outcome("ben", position="nurse", stage="screening", selected=True, outcome_id="spooled-1").spooled
    with Client(running.url, spool=file):
        pass
    assert any(isinstance(event, OutcomeRecorded) and event.outcome_id == "spooled-1" for event in running.events())

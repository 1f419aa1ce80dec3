"""Retention on a running hub: what is over ends by itself, and the audit trail and the metrics say so."""

from datetime import timedelta
from pathlib import Path

from storage.events import now
from storage.texts.keys import FILE, SQLiteTextKeys
from storage.texts.sealed import TextKey
from tests.dashboard.small_world import running_hub, wait_until
from tests.storage.facts import features, id_of, judgment, pair, reply, sealed


def test_a_conversation_whose_time_is_over_ends_while_the_hub_runs(tmp_path: Path) -> None:
    old, late = TextKey.new(), TextKey.new()
    store = SQLiteTextKeys(tmp_path / FILE)
    store.add([old, late])
    ages = {1: timedelta(days=400), 2: timedelta(days=20)}
    with running_hub(tmp_path, retention={"conversations_days": 365}) as hub:
        for number, age in ages.items():
            events = [
                each.model_copy(update={"occurred_at": now() - age})
                for each in (reply(number), pair(number), features(number), judgment(number))
            ]
            hub.world.publish(*(sealed(event, old) if number == 1 else event for event in events))
        wait_until(lambda: hub.hub.warehouse.last_sequence, lambda last: last == 2)
    with running_hub(tmp_path, retention={"conversations_days": 365}) as hub:
        wait_until(lambda: store.get(old.kid), lambda key: key is None)
        hub.wait_for(lambda status: (status["counts"]["replies"], status["counts"]["removed"]) == (1, 1))
        assert 'feedbackloop_retention_ended_total{what="conversation"} ' in hub.client.get("/metrics").text
        (entry,) = [each for each in hub.get("/v1/audit-trail")["entries"] if each["what"] == "ended by retention"]
        assert (entry["who"], entry["about"]) == (None, "conversations: 1")
        hub.world.publish(sealed(reply(1, event_id=id_of("late")), late))  # a client that goes on with the conversation
        wait_until(lambda: store.get(late.kid), lambda key: key is None)
        verified = hub.get("/v1/verify")
        assert verified["ok"], verified

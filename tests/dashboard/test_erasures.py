"""Erasing a person on a running hub: rows and keys go, whatever the file, and asking again changes nothing."""

import time
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from deploy.cli.erase import erase, one_of, told
from storage.errors import ConfigurationError, TextLost
from storage.events import Event, PersonErased, PreferenceRemoved, now
from storage.events.wire import decode
from storage.settings import Settings
from storage.texts.keys import FILE, SQLiteTextKeys, text_keys
from storage.texts.sealed import TextKey
from storage.texts.texts import KEPT, Texts
from storage.warehouse.contents import contents
from storage.warehouse.erasure import keys_in
from storage.warehouse.rows import row_of
from streams.bus.open import keys_of, open_bus
from streams.bus.protocol import Bus, records_of
from streams.bus.topics import TOPICS
from streams.intake import Intake
from streams.privacy.sealing import sealer_of
from streams.pseudonyms import pseudonym, pseudonym_key
from streams.replay import replay
from streams.stations.embed import embed_pairs
from tests.dashboard.small_world import RunningHub, running_hub, wait_until
from tests.streams.bus_contract import everything
from tests.streams.examples import SmallEmbedder

WORDS = {"17": "kestrel", "18": "plover"}  # by candidate: what only they wrote


def chat(bus: Bus, settings: Settings, candidate: str) -> set[str]:
    """A reply, a pair with features, two judgments and a comment, as serving and the processor publish them; the ids of their keys."""
    word, before = WORDS[candidate], len(on_log(bus))
    intake = Intake(bus, pseudonym_key(settings.common), sealer=sealer_of(settings, text_keys(settings)))
    about: dict[str, Any] = {"conversation_id": f"talk-{candidate}", "prompt": [{"role": "user", "content": f"I breed the {word}."}]}
    reply = intake.reply(**about, reply=f"A {word}, how nice.", version="base", sampling={}, candidate=candidate)
    pair = intake.pair(**about, a={"text": f"A {word}!", "version": "base"}, b={"text": "How nice.", "version": "base"})
    logged = next(event for event in on_log(bus) if event.event_id == pair.event_id)
    bus.publish(records_of(embed_pairs([logged], SmallEmbedder(), Texts.of(settings))), timeout=5)
    for recruiter in ("Rosa", "Tom"):
        intake.judgment(pair_id=pair.pair_id, recruiter=recruiter, choice="A", reason=f"the {word} again")
    intake.rating(recruiter="Rosa", reply_id=reply.event_id, comment=f"no {word}, please")
    assert len(on_log(bus)) == before + 6
    return {kid for event in on_log(bus)[before:] for kid in keys_in(row_of(event))} if before == 0 else set()


def on_log(bus: Bus) -> list[Event]:
    events = [decode(entry.value) for entry in everything(bus, *TOPICS)]
    return [event for event in events if event.kind not in ("HubClaimed", "PreferenceJoined", "PreferenceRemoved", "PersonErased")]


def found_in(home: Path, text: bytes) -> set[str]:
    """The files of the home that hold these bytes."""
    return {path.name for path in home.rglob("*") if path.is_file() and text in path.read_bytes()}


def post(hub: RunningHub, what: str, name: str) -> dict[str, Any]:
    answer = hub.client.post("/v1/erasures", json={"what": what, "name": name})
    assert answer.status_code == 200, answer.text
    report: dict[str, Any] = answer.json()
    return report


def test_nothing_of_an_erased_candidate_can_be_read_in_any_file_and_others_stay(tmp_path: Path) -> None:
    with running_hub(tmp_path) as hub:
        settings, bus = hub.world.settings, hub.world.bus
        store, texts = SQLiteTextKeys(tmp_path / FILE), Texts.of(settings)
        kids = chat(bus, settings, "17")
        secrets = {key.secret for kid in kids if (key := store.get(kid)) is not None}
        assert len(secrets) == len(kids) == 4  # the conversation, two reasons, a comment
        chat(bus, settings, "18")
        wait_until(lambda: hub.hub.warehouse.last_sequence, lambda last: last == 4)
        assert all(found_in(tmp_path, secret) == {FILE} for secret in secrets)
        assert "kestrel" in texts.event(next(event for event in on_log(bus) if event.kind == "ReplySent")).model_dump_json()

        report = post(hub, "candidate", "17")
        assert report == post(hub, "candidate", "17")  # asked again
        assert report["done"]
        assert report["name"] == pseudonym(pseudonym_key(settings.common), "candidate", "17")
        assert [report[name] for name in ("conversations", "replies", "pairs", "preferences", "plain")] == [1, 1, 1, 2, 0]
        assert [found_in(tmp_path, secret) for secret in secrets] == [set()] * 4
        assert found_in(tmp_path, b"kestrel") == set()
        about_them = [event for event in on_log(bus) if keys_in(row_of(event)) & kids]
        assert len(about_them) == 6  # the log keeps its entries
        texts = Texts.of(settings)
        for event in about_them:
            with pytest.raises(TextLost):
                texts.event(event)
        assert "plover" in "".join(texts.event(event).model_dump_json() for event in on_log(bus) if event not in about_them)
        wait_until(
            lambda: hub.get("/v1/status")["counts"],
            lambda counts: (counts["replies"], counts["judgments"], counts["removed"]) == (1, 2, 2),
        )
        verified = hub.get("/v1/verify")
        assert verified["ok"], verified


def test_on_kafka_no_process_reads_an_erased_candidate_any_more_and_the_answer_says_how_long_brokers_keep_the_keys(
    tmp_path: Path, empty_kafka: str
) -> None:
    with running_hub(tmp_path / "home", bus_url=empty_kafka) as hub:
        settings, bus = hub.world.settings, hub.world.bus
        with closing(Texts(keys_of(settings, bus))) as texts:  # another process
            kids = chat(bus, settings, "17")
            chat(bus, settings, "18")
            wait_until(lambda: hub.hub.warehouse.last_sequence, lambda last: last == 4)
            about_them = [event for event in on_log(bus) if keys_in(row_of(event)) & kids]
            others = [event for event in on_log(bus) if event not in about_them]
            assert "kestrel" in "".join(texts.event(event).model_dump_json() for event in about_them)
            report = post(hub, "candidate", "17")
            assert (report["done"], report["plain"], report["keys_linger"]) == (True, 0, 3_900)
            assert "within 65 minutes" in "".join(told(report))
            for opened in (texts, Texts.of(settings)):
                wait_until(lambda opened=opened: opened.lost(kids), lambda lost: lost == kids)  # type: ignore[misc]
                time.sleep(KEPT)
                for event in about_them:
                    with pytest.raises(TextLost):
                        opened.event(event)
                assert "plover" in "".join(opened.event(event).model_dump_json() for event in others)
        wait_until(lambda: sum(hub.get("/v1/status")["lag"].values()), lambda behind: behind == 0)
        verified = hub.get("/v1/verify")
        assert verified["ok"], verified
        assert replay(bus, tmp_path / "again.duckdb", lambda *_: None) == contents(hub.hub.warehouse)
        assert not [path for path in tmp_path.rglob("text-keys*") if path.name == FILE]


def test_an_erasure_that_a_killed_hub_left_is_finished_at_the_next_start(tmp_path: Path) -> None:
    settings = Settings.read(tmp_path, environ={}).with_values({"home": tmp_path})
    name = pseudonym(pseudonym_key(settings.common), "recruiter", "Tom")
    event = PersonErased.of("recruiter", name, "request", now())
    with closing(open_bus(settings.common.bus_url)) as bus:
        chat(bus, settings, "17")
        bus.publish(records_of([event]), timeout=5)
    with running_hub(tmp_path) as hub:
        report = post(hub, "recruiter", " TOM ")  # by any spelling
        assert report["done"]
        assert (report["conversations"], report["preferences"]) == (0, 0)  # never numbered
        assert len(hub.hub.warehouse.query("recent_judgments", {"limit": 9})) == 1
        assert len(list(everything(hub.world.bus, "privacy.erasures"))) == 1
        (kid,) = {row["name"] for row in hub.hub.warehouse.query("erased").to_pylist() if row["what"] == "key"}
    store = SQLiteTextKeys(tmp_path / FILE)
    assert store.get(kid) is None
    store.add([TextKey(kid, bytes(32))])  # as from an older backup
    with running_hub(tmp_path) as hub:
        wait_until(lambda: store.get(kid), lambda key: key is None)


def test_lost_keys_are_counted_and_the_hub_goes_on(tmp_path: Path) -> None:
    settings = Settings.read(tmp_path, environ={}).with_values({"home": tmp_path})
    with closing(open_bus(settings.common.bus_url)) as bus:
        kids = chat(bus, settings, "17")
    (tmp_path / FILE).unlink()
    with running_hub(tmp_path) as hub:
        wait_until(lambda: hub.hub.warehouse.last_sequence, lambda last: last == 2)
    with running_hub(tmp_path) as hub:
        wait_until(lambda: hub.hub.streams.erasure.lost, lambda lost: lost == len(kids))
        wait_until(
            lambda: hub.get("/v1/status")["health"]["problems"],
            lambda problems: any(problem.startswith("4 keys of sealed texts are lost") for problem in problems),
        )
        found = hub.get("/v1/verify")
        assert any("4 keys of sealed texts are lost" in words for words in found["state"]), found["state"]
        assert not any(isinstance(entry, PreferenceRemoved) for entry in hub.hub.warehouse.preferences_after(0, 9))
        chat(hub.world.bus, settings, "18")  # under keys of a new store
        wait_until(lambda: hub.hub.warehouse.last_sequence, lambda last: last == 4)
        texts = Texts.of(settings)
        assert sum("plover" in texts.event(event).model_dump_json() for event in on_log(hub.world.bus)[6:]) == 5


def test_the_command_asks_until_it_is_done_and_says_what_was_reached() -> None:
    answer = {"what": "candidate", "name": "c-1", "conversations": 1, "replies": 2, "pairs": 1, "preferences": 3, "forgotten_at": 1_250}
    answer |= {"plain": 0, "keys_linger": 0, "versions": [{"version": "v-1", "run_id": "run", "rows": 4}]}
    asked: list[Any] = []

    def ask(_settings: Any, path: str, body: Any) -> dict[str, Any]:
        asked.append((path, body))
        return answer | {"done": len(asked) == 3}

    found = erase(None, "candidate", "17", ask)  # type: ignore[arg-type]
    assert asked == [("/v1/erasures", {"what": "candidate", "name": "17"})] * 3
    assert "v-1 (run run) was trained on 4 rows that are erased" in told(found)
    assert not any("NOT erased" in line for line in told(found))
    assert "NOT erased: 2 entries" in told(found | {"plain": 2})[-1]


@pytest.mark.parametrize("asked", [(None, None, None), ("17", "Rosa", None)])
def test_the_command_wants_exactly_one_person(asked: tuple[str | None, str | None, str | None]) -> None:
    with pytest.raises(ConfigurationError, match="one of --candidate, --recruiter and --conversation"):
        one_of(*asked)


def test_whatever_name_the_product_may_send_can_be_erased(tmp_path: Path) -> None:
    with running_hub(tmp_path) as hub:
        for name in ("Rosa M.", "mailto:rosa@example.com", "候補者 7"):
            for what in ("candidate", "recruiter"):
                assert post(hub, what, name)["done"]
        refused = hub.client.post("/v1/erasures", json={"what": "conversation", "name": "no such id"})
        assert (refused.status_code, refused.json()["error"]["param"]) == (400, "name")

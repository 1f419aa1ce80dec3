"""Fuzzing inputs for a topic: valid events with one field mutated, and other bytes that may be on a log."""

import json
from collections.abc import Callable, Iterator
from random import Random
from typing import Any
from uuid import UUID

from storage.events import Event, EventQuarantined
from storage.events.wire import encode
from streams.bus.topics import TOPICS, Topic
from streams.versions import version_name
from tests.storage.facts import one_of_each, pair, prompt
from tests.streams.examples import SmallEmbedder, sha

Fields = dict[str, Any]
Where = tuple[dict[str, Any] | list[Any], Any]  # a container inside an event, and the key or index in it

POOL = 40  # pairs, runs, versions …: few, so that different events refer to the same ones
HUGE = (2**31, 2**53, 2**62, 2**63, 2**64, 10**30, -1, -(2**63) - 1, 1e308, 5e-324)
NO_NUMBERS = (float("nan"), float("inf"), float("-inf"))
TYPES: tuple[Any, ...] = (None, True, 0, 1.5, "", "x", [], {}, [None], {"a": {"b": []}})
MOMENTS = ("0001-01-01T00:00:00+23:59", "9999-12-31T23:59:59-23:59", "9999-12-31T23:59:59Z", "2026-02-30T00:00:00Z", "now", -1e18, 5)
TEXTS = ("\x00", "a\x00b", "\ud800", "\u202e\u2028\ufeff", "🧑🏽‍💻" * 40, " ", "' OR 1=1; --", "{{7*7}}", "../../etc/passwd", "NaN")


def inputs(topic: Topic, count: int, random: Random) -> Iterator[bytes]:
    """``count`` inputs, every second one a mutation of a valid event of the topic; deterministic for a seeded ``random``."""
    sent: list[Fields] = []
    for number in range(count):
        if number % 2:
            yield random.choice(OTHER_INPUTS)(topic, random)
            continue
        fields = event_of_topic(topic, random)
        yield _mutated(fields, sent, random)
        if random.random() < 0.2:
            sent.append(fields)


def event_of_topic(topic: Topic, random: Random) -> Fields:
    """The fields of a valid event of the topic."""
    return _varied(random.choice([event for event in EXAMPLES if type(event) in topic.kinds]), random)


def _mutated(fields: Fields, sent: list[Fields], random: Random) -> bytes:
    """Change one field; sometimes repeat an earlier event, or reuse its id for another."""
    dice = random.random()
    if sent and dice < 0.05:
        return _json(random.choice(sent))
    if sent and dice < 0.1:
        return _json(fields | {"event_id": random.choice(sent)["event_id"]})
    changed: Fields = json.loads(json.dumps(fields))
    _change(random.choice(list(_places(changed))), random)
    return _json(changed)


def _change(where: Where, random: Random) -> None:
    holder, key = where
    dice = random.randrange(10)
    if key == "kind":
        assert isinstance(holder, dict)
        holder[key] = random.choice([*(event.kind for event in EXAMPLES), "Nonsense", None, 7])
        if isinstance(holder.get("schema_version"), int):  # not newer than the current version of the new kind
            holder["schema_version"] = 1
    elif key == "schema_version":  # no newer ones: they stop the reader, which is tested elsewhere
        holder[key] = random.choice([0, -1, None, "1", True, 1.0, [], 0.5])
    elif key == "occurred_at" and dice < 5:
        holder[key] = random.choice(MOMENTS)
    elif dice == 0:
        del holder[key]
    elif dice == 1 and isinstance(holder, dict):
        holder[random.choice(["extra", "", "Kind", "__class__", "\x00"])] = holder[key]
    elif dice == 2:
        holder[key] = {"value": holder[key]} if random.random() < 0.5 else [[holder[key]]]
    elif dice == 3:
        holder[key] = random.choice("aÄ\x00 ") * random.choice([130, 201, 1_000, 1_000, 1_000, 70_000])
    elif dice in (4, 5):
        holder[key] = random.choice([*HUGE, *NO_NUMBERS])
    elif dice in (6, 7):
        holder[key] = random.choice(TEXTS)
    else:
        holder[key] = random.choice(TYPES)


def _places(value: Any) -> Iterator[Where]:
    """Every field and element, recursively."""
    for key, inner in list(value.items() if isinstance(value, dict) else enumerate(value)):
        yield value, key
        if isinstance(inner, dict | list):
            yield from _places(inner)


def _other_event(_topic: Topic, random: Random) -> bytes:
    return _json(_varied(random.choice(EXAMPLES), random))


def _valid_event(topic: Topic, random: Random) -> bytes:
    return _json(event_of_topic(topic, random))


def _noise(_topic: Topic, random: Random) -> bytes:
    return random.randbytes(random.randrange(300))


def _truncated(topic: Topic, random: Random) -> bytes:
    whole = _valid_event(topic, random)
    return whole[: random.randrange(len(whole))]


def _bad_utf8(topic: Topic, random: Random) -> bytes:
    whole = _valid_event(topic, random)
    at = random.randrange(len(whole))
    return whole[:at] + random.choice([b"\xff", b"\xc3", b"\xed\xa0\x80"]) + whole[at:]


def _deep(_topic: Topic, random: Random) -> bytes:
    opening = random.choice([b"[", b'{"a":', b'{"kind":', b'{"kind":"ReplySent","prompt":['])
    return opening * (random.choice([1_000, 3_000, 20_000]) // len(opening))


def _odd_json(_topic: Topic, random: Random) -> bytes:
    return random.choice([b"", b" ", b"null", b"0", b'"x"', b"[]", b"{}", b'{"kind": []}', b'{"kind": "ReplySent"}', b"1" * 5_000])


def _duplicate_keys(topic: Topic, random: Random) -> bytes:
    return _valid_event(topic, random).replace(b"{", b'{"kind": "HubClaimed", "source": 1, ', 1)


OTHER_INPUTS: tuple[Callable[[Topic, Random], bytes], ...] = (
    _valid_event,
    _valid_event,
    _other_event,
    _noise,
    _truncated,
    _bad_utf8,
    _deep,
    _odd_json,
    _duplicate_keys,
)


def _varied(example: Event, random: Random) -> Fields:
    """The example as another event of its kind, about one of a few pairs, runs or versions."""
    fields: Fields = json.loads(encode(example))
    thing = random.randrange(POOL)
    policy = sha(f"policy {thing}")
    own = {
        "event_id": _id(random),
        "pair_id": str(pair(thing).pair_id),
        "conversation_id": f"conversation-{thing}",
        "reply_id": _id(random),
        "run_id": str(pair(thing).event_id),
        "policy": policy,
        "version": version_name(policy),
        "review": _id(random),
        "attempt": random.randrange(1, 4),
        "k": random.randrange(1, 9),
        "through_sequence": random.randrange(1, 30),
        "verdict": random.choice(["passed", "failed", "insufficient"]),
        "decision": random.choice(["approve", "reject"]),
        "judgments_before": random.randrange(60),
        "judgments_seen": random.randrange(60),
        "epoch": random.randrange(1, 2**40),  # below the running hub's, which therefore does not stop
        "sequence": random.randrange(1, 100),
        "embedding_hash": SmallEmbedder.hash,
    }
    fields |= {name: value for name, value in own.items() if name in fields}
    if example.kind == "JudgmentGiven":
        fields |= {"choice": random.choice(["A", "B", "tie", "neither", "skip"]), "recruiter": f"r-{random.randrange(3)}"}
    if example.kind == "PairDrawn":
        fields["prompt"] = [message.model_dump() for message in prompt(random.choice(["Hello?", "¿Sigue abierto?", "返事はいつ？"]))]
    if example.kind == "ModelEvaluated":
        fields["gates"] = [gate | {"verdict": fields["verdict"]} for gate in fields["gates"]]
    return fields


def _id(random: Random) -> str:
    return str(UUID(int=random.getrandbits(128), version=random.choice([4, 5])))


def _json(fields: Fields) -> bytes:
    """As Python's ``json`` writes it, including NaN, infinities and lone surrogates."""
    return json.dumps(fields).encode()


EXAMPLES: list[Event] = one_of_each()
assert {kind for topic in TOPICS.values() for kind in topic.kinds} == {type(event) for event in EXAMPLES}
assert any(isinstance(event, EventQuarantined) for event in EXAMPLES)

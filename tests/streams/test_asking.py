"""How recruiters are asked about a pair: arms and repeats are shares of all pairs, fixed by a keyed hash and recorded."""

from typing import Any
from uuid import uuid5

import pytest
from pydantic import ValidationError

from storage.errors import InputRefused
from storage.events import new_id
from streams.asking import AskingSettings, asking_of
from streams.intake import Intake
from tests.streams.memory_bus import MemoryBus
from tests.streams.test_intake import EDIT, KEY, PAIR

RULE = AskingSettings(uniform_share=0.2, repeated_share=0.3, repeated_opinions=3)
IDS = [uuid5(new_id(), "a") for _ in range(4000)]


def test_the_shares_are_met_and_independent() -> None:
    found = [asking_of(each, "sampled", "training", RULE, KEY) for each in IDS]
    uniform, repeated = [each.arm == "uniform" for each in found], [each.opinions == 3 for each in found]
    assert abs(sum(uniform) / len(IDS) - 0.2) < 0.03  # over four standard errors
    assert abs(sum(repeated) / len(IDS) - 0.3) < 0.03
    assert abs(sum(a and b for a, b in zip(uniform, repeated, strict=True)) / len(IDS) - 0.06) < 0.02
    assert [each.opinions for each in found if each.opinions not in (None, 3)] == []


def test_it_is_the_same_again_and_another_under_another_key() -> None:
    assert all(asking_of(each, "sampled", "training", RULE, KEY) == asking_of(each, "sampled", "training", RULE, KEY) for each in IDS[:50])
    assert any(
        asking_of(each, "sampled", "training", RULE, KEY) != asking_of(each, "sampled", "training", RULE, b"e" * 32) for each in IDS[:50]
    )


def test_the_evaluation_stratum_is_always_asked_uniformly() -> None:
    assert {asking_of(each, "sampled", "evaluation", RULE, KEY).arm for each in IDS[:200]} == {"uniform"}


@pytest.mark.parametrize("drawn", ["imported", "edited", "duel", "canary"])
def test_pairs_of_duels_and_pairs_that_are_judged_already_are_asked_once(drawn: str) -> None:
    assert {asking_of(each, drawn, "training", AskingSettings(repeated_share=1), KEY).opinions for each in IDS[:50]} == {None}


def test_intake_records_how_a_pair_is_asked() -> None:
    intake = Intake(MemoryBus(), KEY, asking=AskingSettings(uniform_share=0, repeated_share=1, repeated_opinions=4))
    pairs = [intake.pair(**PAIR | {"conversation_id": f"c-{n}"}) for n in range(40)]
    assert {(each.stratum, each.arm) for each in pairs} == {("training", "informative"), ("evaluation", "uniform")}
    assert {each.opinions for each in pairs} == {4}
    asked = intake.pair(**PAIR, priority=7, opinions=2)
    assert (asked.priority, asked.opinions) == (7, 2)
    assert intake.edit(**EDIT)[0].opinions is None


@pytest.mark.parametrize(
    ("given", "field"), [({"priority": 10}, "priority"), ({"priority": -1}, "priority"), ({"opinions": 0}, "opinions")]
)
def test_wrong_values_are_refused_by_name(given: dict[str, Any], field: str) -> None:
    with pytest.raises(InputRefused) as refused:
        Intake(MemoryBus(), KEY).pair(**PAIR | given)
    assert refused.value.field == field


def test_one_opinion_is_no_repeat() -> None:
    with pytest.raises(ValidationError):
        AskingSettings(repeated_opinions=1)

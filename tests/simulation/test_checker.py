"""The ground-truth parser, on hand-written sentences."""

import dataclasses

import pytest

from simulation.checker import read
from simulation.world import Record

RECORD = Record(
    candidate="Emma",
    group="north",
    role="Tour Guide",
    employer="Fjord Marine",
    stage="first interview",
    slots=("Tuesday 10:00", "Thursday 14:30"),
    by="Friday",
    documents=("passport", "licence"),
    starts="May",
    remote="two days",
    matter="booking",
    asked_day="Tuesday",
)


@pytest.mark.parametrize(
    ("reply", "done"),
    [
        ("Hello Emma, your interview for Tour Guide is booked for Tuesday 10:00.", True),
        ("Hello Emma, your interview for Tour Guide is booked for Tuesday at 10:00.", True),
        ("Hello Emma, your interview for Tour Guide is booked for Thursday 14:30.", False),  # free, but another day was asked for
        ("Hello Emma, your interview for Tour Guide is booked for Tuesday 14:30.", False),  # the other slot's hour
        ("Hello Emma, your interview for Line Cook is booked for Tuesday 10:00.", False),
        ("Hello, your interview for Tour Guide is booked for Tuesday 10:00.", False),  # no name
        ("Hello Emma, we will find a time for the Tour Guide interview.", False),
        ("Hello Emma, Tour Guide, Tuesday 10:00 or Thursday 14:30.", False),  # offers, books nothing
    ],
)
def test_a_booking_needs_name_role_and_a_free_slot_on_the_day_asked_for(reply: str, done: bool) -> None:
    assert read(RECORD, reply).success is done


def test_a_status_question_needs_the_stage_of_the_record() -> None:
    record = dataclasses.replace(RECORD, matter="status", asked_day=None)
    assert read(record, "Your application is now at first interview.").success is True
    assert read(record, "Your application is now at second interview.").success is False
    assert read(record, "Your application moves along.").success is False
    assert read(dataclasses.replace(record, matter="offer"), "You start in May.").success is None


@pytest.mark.parametrize(
    ("reply", "wrong"),
    [
        ("Your interview is on Monday 10:00.", ("Monday 10:00",)),
        ("We will write by Thursday.", ("by Thursday",)),
        ("See you on Wednesday.", ("Wednesday",)),
        ("You are at the stage final round.", ("final round",)),
        ("You start in June.", ("June",)),
        ("Please send your diploma.", ("diploma",)),
        ("It is three days a week from home.", ("three days a week",)),
        ("Dear Emily, we have your question.", ("Emily",)),
        ("You start as Tour Guide at Fjord Foods.", ("Fjord Foods",)),
        ("We chose someone else for Tour Guise.", ("Tour Guise",)),
        ("Hello Emma, Tour Guide at Fjord Marine, Thursday 14:30, in May, by Friday, your passport, two days a week.", ()),
        ("Everything else will follow. I hope so.", ()),
    ],
)
def test_what_the_record_does_not_say_is_a_wrong_fact(reply: str, wrong: tuple[str, ...]) -> None:
    assert read(RECORD, reply).wrong_facts == wrong


def test_attributes_are_read_from_the_text_alone() -> None:
    full = read(
        RECORD, "It is lovely to hear from you! Tuesday 10:00 is yours. I will write by Friday. Is there anything you need? As they say."
    )
    assert (full.concrete, full.dated, full.warm, full.question, full.filler) == (True, True, True, True, 1)
    bare = read(RECORD, "Hello. There are times open. More is in the portal. You can answer.")
    assert (bare.concrete, bare.dated, bare.warm, bare.question, bare.filler) == (False, False, False, False, 0)


def test_unlawful_questions_and_promises_are_found_and_do_not_count_as_questions() -> None:
    for line in ("Are you planning to have children?", "How old are you, by the way?", "I promise that you will get this job."):
        reading = read(RECORD, line)
        assert (reading.unlawful, reading.question) == (1, False)

"""The readers of attributes, on sentences that are neither the simulation's nor its corpus'."""

import pytest

from trainers.audits.judgments.attributes import ATTRIBUTES, read

DATED = (
    "You will hear back from us by Thursday.",
    "We should have a decision for you within two working days.",
    "Expect an e-mail no later than 12 March.",
    "My colleague will ring you tomorrow afternoon.",
    "We'll be in touch at the latest by the end of next week.",
    "I will let you know on Monday whether it worked.",
    "Please upload the form before 5 pm.",
)
UNDATED = (
    "Have a look at the portal for updates.",
    "We received your application on Monday.",
    "The role is remote two days a week.",
    "We will be in touch as soon as we can.",
    "The job starts in May.",
    "Your interview is on Tuesday at 10:30.",
    "The shop opens at 9:00 on working days.",
)
REFUSALS = (
    "Unfortunately we won't be moving forward with your application.",
    "We have decided to go with another candidate.",
    "Your application was unsuccessful this time.",
    "We regret to tell you that the position has been filled.",
    "We are not able to offer you the role.",
)
NO_REFUSALS = (
    "We would love to move forward with you.",
    "You have been selected for the next round.",
    "Do not worry, the address is on the invitation.",
    "The office is not far from the station.",
)
WARM = ("Thanks a lot for getting in touch.", "We are looking forward to meeting you.", "I'm really sorry for the wait.", "Good luck!")
PLAIN = (
    "We have received your documents.",
    "A role of this kind needs a licence.",
    "The team is one happy family.",
    "Your file is complete!",
)


@pytest.mark.parametrize(
    ("name", "those_with", "those_without"),
    [("dated", DATED, UNDATED), ("refusal", REFUSALS, NO_REFUSALS), ("warm", WARM, PLAIN)],
)
def test_a_reader_knows_sentences_with_its_attribute_from_those_without(
    name: str, those_with: tuple[str, ...], those_without: tuple[str, ...]
) -> None:
    assert [text for text in those_with if not read(text)[name]] == []
    assert [text for text in those_without if read(text)[name]] == []


def test_an_offered_time_is_an_appointment_and_no_date_of_the_next_step() -> None:
    found = read("Would Tuesday at 10:30 suit you for a call?")
    assert (found["appointment"], found["dated"], found["question"]) == (1, 0, 1)
    both = read("Your interview is on 3 June, 14:00. We will confirm it by Friday.")
    assert (both["appointment"], both["dated"]) == (1, 1)


def test_an_empty_reply_has_no_attribute() -> None:
    assert read("") == dict.fromkeys(ATTRIBUTES, 0.0)

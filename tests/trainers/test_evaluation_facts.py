"""Unsupported facts found in replies, case by case."""

import pytest

from storage.events import Message
from trainers.audits.content.facts import facts_of, values_of
from trainers.audits.content.facts import unsupported as unsupported_in

FACTS = """Answer the candidate by these facts.
Candidate: Katelyn
Role: Bus Driver
Employer: Maple Transit
Stage: first interview
Free slots: Tuesday 10:30; Friday 9:00
Documents: passport and diploma
Remote: two days
Next news: by Thursday
Asked about: interview"""

OTHER = """Candidate: Precious
Role: Pastry Chef
Employer: Marks and Spencer
Stage: final round
Documents: work permit and licence; diploma
Remote: three days
Starts: March
Asked about: home"""


def asked(question: str = "When could I have my interview?", facts: str = FACTS) -> tuple[Message, ...]:
    return Message(role="system", content=facts), Message(role="user", content=question)


VALUES = values_of([asked(), asked(facts=OTHER)])


def unsupported(reply: str, question: str = "When could I have my interview?") -> tuple[str, ...]:
    return unsupported_in(asked(question), reply, VALUES)


@pytest.mark.parametrize(
    "reply",
    [
        "Hello Katelyn, your interview for Bus Driver is booked for Tuesday 10:30. I will write to you again by Thursday.",
        "We will meet you on Friday at 9:00 at Maple Transit. You can talk to us in English.",
        "Friday, 09:00 is yours. I am glad, Katelyn!",
        "For Bus Driver you are at the stage first interview.",
        "Please send us your passport and your diploma.",
        "It is two days a week from home, or 2 days if you like.",
        "Thank you so much for writing! We have a final word soon, and a permit is no problem. It is precious to us.",
        "Katelyn, we are still at work on your application.",
        "There are several ways to work with us, also from home.",
        "Marks on the form do not matter.",
        "Your place as Bus Driver Katelyn is Maple Transit's.",
        "",
    ],
)
def test_what_the_prompt_supports_is_no_wrong_fact(reply: str) -> None:
    assert unsupported(reply) == ()


@pytest.mark.parametrize(
    ("reply", "wrong"),
    [
        ("Hello Precious, here is our answer.", "Precious"),
        ("Your interview is booked for Tuesday 9:00.", "Tuesday 9:00"),
        ("Your interview is booked for Monday 10:30.", "Monday 10:30"),
        ("We will meet at 11:00.", "11:00"),
        ("You will hear more by Tuesday.", "by Tuesday"),
        ("You will hear from us on Wednesday.", "Wednesday"),
        ("You start in March.", "March"),
        ("Your application for Pastry Chef moves along.", "Pastry Chef"),
        ("Your file is at the final round.", "final round"),
        ("Please bring your work permit.", "work permit"),
        ("For Bus Driver we need your licence application.", "licence"),
        ("At Marks and Spencer we like you.", "Marks and Spencer"),
        ("You can work from home three days a week.", "three days"),
        ("There are 45 applicants.", "45"),
        ("At Willow Care we like you.", "Willow Care"),
        ("Your role as Bus Chef is open.", "Bus Chef"),
        ("We will not go on with you at Maple.", "Maple"),
    ],
)
def test_what_the_prompt_does_not_support_is_found(reply: str, wrong: str) -> None:
    assert wrong in unsupported(reply)


def test_the_candidates_own_words_support_a_fact_and_the_chatbots_do_not() -> None:
    assert unsupported("See you on Monday.", "Would Monday work?") == ()
    prompt = (*asked()[:1], Message(role="assistant", content="Come on Monday."), Message(role="user", content="Fine."))
    assert unsupported_in(prompt, "See you on Monday.", VALUES) == ("Monday",)


def test_facts_are_lines_of_key_and_value_in_system_messages() -> None:
    assert facts_of(asked())["Free slots"] == "Tuesday 10:30; Friday 9:00"
    assert facts_of((Message(role="user", content="Role: Pilot"),)) == {}
    bare = (Message(role="user", content="Hi, any news?"),)
    assert unsupported_in(bare, "We will call you on Monday at 10:00, Sam.", values_of([bare])) == ("Monday 10:00", "Sam")


@pytest.mark.timeout(60)  # each further word once doubled the time: this would take longer than anybody waits
def test_a_reply_that_repeats_names_without_end_is_read_to_its_end() -> None:
    repeated = " ".join(["Katelyn", "Maple Transit"] * 100)
    assert unsupported(f"Dear {repeated}, hello.") == ()
    wrong = f"{repeated} Precious"
    assert wrong in unsupported(f"Dear {wrong}, hello.")

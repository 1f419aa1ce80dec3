"""Texts with personal data planted by Faker in the formats of ten countries, and texts with figures that are no personal data.

The planted data and its formats are Faker's, not ours; the sentences around it are ours, and the rules were tuned on the formats of
``LOCALES`` with another seed. Telephone numbers are those that exist by the
numbering plan, written as Faker writes them.
"""

import random
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import phonenumbers
from faker import Faker

LOCALES = ("en_US", "en_GB", "de_DE", "fr_FR", "es_ES", "it_IT", "nl_NL", "en_IN", "pl_PL", "sv_SE")
OTHERS = ("en_CA", "en_AU", "en_IE", "de_CH", "fr_BE", "pt_BR", "da_DK", "fi_FI")  # whose formats the rules were never tuned on
IDS = {
    "en_US": "My SSN is {}.",
    "fr_FR": "Numéro de sécurité sociale {}.",
    "it_IT": "Codice fiscale: {}",
    "nl_NL": "BSN {}",
    "pl_PL": "PESEL: {}",
    "sv_SE": "Personnummer {}",
}
SENTENCES = {
    "phone": ("My phone number is {}.", "You can reach me at {} after five.", "Please call {} if anything changes.", "Mobile: {}"),
    "phone_alone": ("{name}\n{}\nShift lead", "Thanks, {name} ({})"),
    "email": ("Write to {}, please.", "My e-mail: {}", "{name}, {}"),
    "iban": ("My account for the travel costs: {}", "IBAN {} at my bank."),
    "card": ("Book it on my card {}.", "Card number {}"),
    "address": ("My address is {}.", "I live at {}.", "Home address: {}"),
    "address_alone": ("{name}, {}, available from May", "{name}\n{}\nReferences on request"),
    "birth_date": ("My date of birth is {}.", "I was born on {}.", "DOB: {}"),
    "id": ("{}",),
}
FACTS = (
    "The interview is on {date} at {hour}.", "Your slot: {weekday} {hour}, room {room}.", "Job {job}, reference {number}.",
    "The salary is {low} to {high} a year.", "Please ask for extension {room}.", "The office is at {address}.",
    "The interview takes place at {address}; please come ten minutes early.", "Requisition number {number} is still open.",
    "We have {room} employees and opened in {year}.", "Shift lead, {year} - {later}; {room} people.",
    "Contract {year}-{number}, version 2.{room}.", "The course takes {room} hours from {date} to {date}.",
    "The budget is {low} EUR.", "Your candidate number is {number}.",
    "Apply by {date}; ticket {number}.", "Parking space {room}, code {room}#.",
)  # fmt: skip


class Planted(NamedTuple):
    """A text, what was planted in it, and of which kind."""

    text: str
    value: str
    kind: str
    locale: str


def planted(seed: int, count: int, locales: Sequence[str] = LOCALES) -> Iterator[Planted]:
    """``count`` texts of each kind and country that has it."""
    for locale in locales:
        fake = Faker(locale)
        fake.seed_instance(seed)
        rng = random.Random(f"{seed}-{locale}")
        for kind, sentences in SENTENCES.items():
            if kind == "id" and locale not in IDS:
                continue
            for _ in range(count):
                value = _value(kind, fake, locale, rng)
                sentence = IDS[locale] if kind == "id" else rng.choice(sentences)
                yield Planted(sentence.replace("{name}", fake.name()).replace("{}", value), value, kind, locale)


def facts(seed: int, count: int) -> Iterator[str]:
    """Texts with dates, amounts, ids and office addresses."""
    rng = random.Random(seed)
    fakes = [Faker(locale) for locale in LOCALES]
    for fake in fakes:
        fake.seed_instance(seed)
    for number in range(count):
        fake = rng.choice(fakes)
        year, low = rng.randrange(1990, 2020), rng.randrange(28, 90)
        day = fake.date_object()
        yield FACTS[number % len(FACTS)].format(
            date=rng.choice((f"{day:%Y-%m-%d}", f"{day:%d.%m.%Y}", f"{day:%m/%d/%Y}", f"{day:%d %B %Y}", f"{day:%B %d}")),
            hour=f"{rng.randrange(7, 19)}:{rng.choice(('00', '15', '30'))}",
            weekday=fake.day_of_week(),
            room=rng.randrange(10, 5000),
            job=rng.choice((f"REQ-{rng.randrange(10**8)}", f"{rng.randrange(10**6, 10**7)}", f"J{rng.randrange(10**9)}")),
            number=rng.choice(
                (f"{rng.randrange(10**7, 10**10)}", f"{rng.randrange(10**4)}-{rng.randrange(10**4)}", f"{rng.randrange(10**12)}")
            ),
            low=rng.choice((f"{low},000", f"{low} 000", f"€{low}.000", f"${low},500")),
            high=rng.choice((f"{low + 9},000", f"{low + 9} 000")),
            address=fake.address().replace("\n", ", "),
            year=year,
            later=year + rng.randrange(1, 9),
        )


def _value(kind: str, fake: Faker, locale: str, rng: random.Random) -> str:
    day = fake.date_of_birth(minimum_age=18)
    values: dict[str, Callable[[], str]] = {
        "phone": lambda: _phone(fake, locale),
        "phone_alone": lambda: _phone(fake, locale),
        "email": fake.email,
        "iban": fake.iban,
        "card": lambda: fake.credit_card_number(rng.choice(("visa16", "mastercard", "amex"))),
        "address": lambda: fake.address().replace("\n", ", "),
        "address_alone": lambda: fake.address().replace("\n", ", "),
        "birth_date": lambda: rng.choice((f"{day:%d %B %Y}", f"{day:%d/%m/%Y}", f"{day:%Y-%m-%d}", f"{day:%B %d, %Y}", f"{day:%d.%m.%y}")),
        "id": fake.ssn,
    }
    return values[kind]()


def _phone(fake: Faker, locale: str) -> str:
    """A number that the country's plan has."""
    while True:
        written = fake.phone_number()
        try:
            if phonenumbers.is_valid_number(phonenumbers.parse(written, locale[-2:])):
                return written
        except phonenumbers.NumberParseException:
            continue

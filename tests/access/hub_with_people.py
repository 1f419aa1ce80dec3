"""A hub in the required mode, with people who sign in."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

from access.changes import AccessChanges
from access.people.changes import PeopleChanges
from access.people.roles import Person
from access.people.store import FILE, PeopleStore
from storage.attestation.keys import Keys
from storage.attestation.settings import AttestationSettings
from streams.pseudonyms import pseudonym, pseudonym_key
from tests.access.installation import PASSWORD, bearer, until
from tests.dashboard.small_world import RunningHub, running_hub

PEOPLE = {"Ana": "recruiter", "Ben": "recruiter", "Rosa": "reviewer", "Noor": "reviewer", "Ivo": "auditor", "Ada": "admin"}


@dataclass
class HubWithPeople:
    """``people`` are those of ``PEOPLE``; ``operator`` is a client with an API key, who may read."""

    running: RunningHub
    changes: PeopleChanges
    people: dict[str, Person]
    operator: httpx.Client

    def client(self) -> httpx.Client:
        return httpx.Client(base_url=self.running.url, timeout=20, headers={"Origin": self.running.url})

    @contextmanager
    def signed_in(self, name: str) -> Iterator[httpx.Client]:
        with self.client() as client:
            answer = client.post("/sign-in", json={"login": name, "password": PASSWORD})
            assert answer.status_code == 204, answer.text
            yield client

    def status(self) -> dict[str, Any]:
        found: dict[str, Any] = self.operator.get("/v1/status").json()
        return found


@contextmanager
def hub_with_people(home: Path, names: Sequence[str] = tuple(PEOPLE), **sections: Any) -> Iterator[HubWithPeople]:
    with running_hub(home, access={"mode": "required"}, **sections) as running:
        log = AccessChanges(running.world.bus, Keys(home, AttestationSettings()))
        changes = PeopleChanges(log, PeopleStore(home / FILE))
        secret = pseudonym_key(running.world.settings.common)
        people = {
            name: changes.add(name, f"{name} Adler", PASSWORD, pseudonym(secret, "recruiter", name), [PEOPLE[name]]) for name in names
        }
        _, key = log.issue("operator", ["read"])
        with httpx.Client(base_url=running.url, timeout=20, headers=bearer(key)) as operator:
            until(lambda: operator.get("/v1/status").status_code == 200)
            yield HubWithPeople(running, changes, people, operator)

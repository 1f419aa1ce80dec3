"""Decides whether serving may install a promoted version: only with a valid record of its promotion.

This is the part of :mod:`streams.attestation.verify` that fits before a swap: signatures, what the record is about, and the base model.
The store verifies the adapter's bytes when it is loaded.
"""

import logging
from collections.abc import Callable, Iterator
from typing import Any

from storage.artifacts import Artifacts
from storage.attestation.checks import Check, base_check, signature_checks, statement_checks
from storage.attestation.envelope import stored_record
from storage.attestation.keys import Keys
from storage.attestation.statement import Statement
from storage.errors import AttestationError
from storage.events import ModelPromoted
from streams.attestation.history import follows_a_record, promotion_of, record_before
from streams.versions import BASE, Versions

log = logging.getLogger(__name__)


class Admission:
    """Checks records in the store against the trusted keys.

    Parameters
    ----------
    base_hash : hashes the base model at hand; None for a Hugging Face id, whose files are not hashed
    """

    def __init__(self, artifacts: Artifacts, keys: Keys, base_hash: Callable[[], str | None]) -> None:
        self._artifacts, self._keys, self._base_hash = artifacts, keys, base_hash

    def admit(self, name: str, versions: Versions) -> None:
        """Return if the current or previous champion ``name`` may be served.

        Promotions without a record are accepted as "not attested" if no earlier promotion has one: they are from before records were kept.

        Raises
        ------
        AttestationError
            The record is missing, a signature or key is wrong, it is about something else, or the base model was replaced.
        """
        promotion = promotion_of(versions, name)
        if name == BASE or promotion is None:
            return
        if promotion.record is None:
            if follows_a_record(versions, promotion):
                self._refuse(f"the promotion of {name} names no record, although records were kept before it")
            return
        self._check(promotion.record, lambda statement: _differences(statement, promotion, versions))

    def remembered(self, name: str, policy: str | None, record: str | None) -> None:
        """The same for the version that served last, while the log is down: its record has to be about this adapter."""
        if record is not None:
            self._check(
                record,
                lambda statement: _compare(
                    {"version": (statement.evidence.version, name), "adapter": (statement.digest("adapter"), policy)}
                ),
            )

    def _check(self, record: str, differences: Callable[[Statement], Iterator[Check]]) -> None:
        try:
            read = stored_record(self._artifacts, record)
            statement = read.statement()
            trusted = self._keys.trusted()
        except AttestationError as error:
            return self._refuse(str(error))
        checks = [*signature_checks(read, statement, trusted), *statement_checks(statement), *differences(statement)]
        if all(check.outcome == "passed" for check in checks) and statement.evidence.base.sha256 is not None:
            checks.append(base_check(statement, self._base_hash() or "not hashed"))  # last: it reads the whole base model
        if failed := [f"{check.what}: {check.words}" for check in checks if check.outcome == "failed"]:
            self._refuse("; ".join(failed))
        return None

    def _refuse(self, reason: str) -> None:
        if self._keys.settings.required:
            raise AttestationError(reason)
        log.warning("serving without a valid record, as [attestation] required = false allows: %s", reason)


def _differences(statement: Statement, promotion: ModelPromoted, versions: Versions) -> Iterator[Check]:
    evaluated = versions.versions[promotion.version].evaluated
    evidence = statement.evidence
    return _compare(
        {
            "version": (evidence.version, promotion.version),
            "promotion": (evidence.promotion, promotion.event_id),
            "review": (evidence.review, promotion.review),
            "evaluation": (evidence.evaluation, evaluated.event_id),
            "adapter": (statement.digest("adapter"), evaluated.policy),
            "report": (statement.digest("report"), evaluated.report),
            "gates": (evidence.gates, evaluated.gates),
            "champion": (evidence.champion, evaluated.champion),
            "previous record": (evidence.previous, record_before(versions, promotion.version)),
        }
    )


def _compare(fields: dict[str, tuple[Any, Any]]) -> Iterator[Check]:
    for name, (recorded, on_the_log) in fields.items():
        if recorded != on_the_log:
            yield Check("record", "failed", f"it is about another {name} than the log")

"""Which promotion made a version champion, and which record it names, read from the fold of versions."""

from storage.events import ModelPromoted
from streams.versions import Versions


def promotion_of(versions: Versions, name: str) -> ModelPromoted | None:
    """The promotion that made the version champion; None for the base model and for versions that never were."""
    return next((event for event in versions.promoted if event.version == name), None)


def record_of(versions: Versions, name: str) -> str | None:
    """Hash of the record of the version's promotion; None if it was not attested."""
    promotion = promotion_of(versions, name)
    return None if promotion is None else promotion.record


def record_before(versions: Versions, name: str) -> str | None:
    """Hash of the record of the champion that a current or previous champion followed."""
    return record_of(versions, versions.champions[versions.champions.index(name) - 1])


def follows_a_record(versions: Versions, promotion: ModelPromoted) -> bool:
    """Whether an earlier promotion has a record: then the hub keeps records, and a promotion without one is not the hub's."""
    return any(event.record is not None for event in versions.promoted[: versions.promoted.index(promotion)])

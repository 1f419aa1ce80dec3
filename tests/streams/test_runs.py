"""Which trainer owns an attempt, by the order of the log; and which request is frozen next."""

from uuid import UUID

from hypothesis import given
from hypothesis import strategies as st

from storage.events import DatasetFrozen, Event, RunClaimed, TrainingFailed, TrainingProgress, TrainingRequested, derived_id
from streams.runs import fold, next_to_freeze, open_run
from tests.streams.examples import at, evaluated, sha


def run_id(k: int) -> UUID:
    return derived_id("run", k)


def request(k: int) -> TrainingRequested:
    return TrainingRequested(
        source="product",
        occurred_at=at(k),
        run_id=run_id(k),
        method="dpo",
        threshold="count",
        k=k,
        through_sequence=k * 200,
        sources=("product",),
    )


def frozen(k: int) -> DatasetFrozen:
    return DatasetFrozen(
        source="product", run_id=run_id(k), snapshot=sha(f"{k}"), champion="base", champion_policy=None, challengers_before=0
    )


def claim(trainer: str, attempt: int, seconds: float, k: int = 1) -> RunClaimed:
    return RunClaimed(source="product", occurred_at=at(seconds), run_id=run_id(k), attempt=attempt, trainer=trainer)


def progressed(attempt: int, seconds: float, k: int = 1) -> TrainingProgress:
    return TrainingProgress(source="product", occurred_at=at(seconds), run_id=run_id(k), attempt=attempt, stage="train", step=1, steps=2)


def failed(attempt: int, final: bool, k: int = 1) -> TrainingFailed:
    return TrainingFailed(source="product", occurred_at=at(20), run_id=run_id(k), attempt=attempt, stage="train", reason="no", final=final)


OPEN: list[Event] = [request(1), frozen(1)]


def test_the_first_claim_of_an_attempt_wins() -> None:
    run = fold([*OPEN, claim("one", 1, 0), claim("two", 1, 0.1)])[run_id(1)]
    assert (run.attempt, run.trainer) == (1, "one")


def test_an_attempt_without_progress_for_a_minute_is_free_and_one_with_progress_is_not() -> None:
    runs = fold([*OPEN, claim("one", 1, 0), progressed(1, 30)])
    assert not runs[run_id(1)].is_free(at(89))
    assert runs[run_id(1)].is_free(at(90))
    assert fold([*OPEN, claim("one", 1, 0), progressed(1, 30), claim("two", 2, 89)])[run_id(1)].trainer == "one"
    assert fold([*OPEN, claim("one", 1, 0), progressed(1, 30), claim("two", 2, 90)])[run_id(1)].trainer == "two"


def test_progress_stamped_in_the_future_does_not_hold_a_run_for_ever() -> None:
    days_ahead = 10 * 86_400
    runs = fold([*OPEN, claim("one", 1, 0), progressed(1, days_ahead)])
    assert runs[run_id(1)].is_free(at(60))
    a_little = fold([*OPEN, claim("one", 1, 0), progressed(1, 100)])
    assert not a_little[run_id(1)].is_free(at(60)), "clocks differ by seconds"


def test_progress_of_a_superseded_attempt_does_not_renew_the_lease() -> None:
    runs = fold([*OPEN, claim("one", 1, 0), claim("two", 2, 60), progressed(1, 100)])
    assert runs[run_id(1)].is_free(at(120))
    assert fold([*OPEN, claim("one", 1, 0), claim("two", 2, 60), failed(1, True)])[run_id(1)].open


def test_a_failure_frees_the_next_attempt_at_once_unless_it_is_final() -> None:
    assert fold([*OPEN, claim("one", 1, 0), failed(1, False)])[run_id(1)].is_free(at(1))
    ended = fold([*OPEN, claim("one", 1, 0), failed(1, True)])[run_id(1)]
    assert ended.ended
    assert not ended.is_free(at(1000))


def test_while_a_run_is_open_nothing_is_frozen_and_after_it_only_the_newest_request() -> None:
    waiting: list[Event] = [*OPEN, request(2), request(3)]
    assert next_to_freeze(fold(waiting)) is None
    done = [*waiting, evaluated("one", run_id=run_id(1))]
    assert next_to_freeze(fold(done)) == request_of(done, 3)
    assert next_to_freeze(fold([*done, frozen(3), evaluated("two", run_id=run_id(3))])) is None


def test_a_request_older_than_a_frozen_run_is_superseded() -> None:
    events: list[Event] = [request(1), request(2), frozen(2)]
    assert next_to_freeze(fold([*events, claim("one", 1, 0, 2), failed(1, True, 2)])) is None


@given(st.permutations(range(6)))
def test_the_next_request_does_not_depend_on_the_order_in_which_topics_are_read(order: list[int]) -> None:
    topics: list[list[Event]] = [
        [request(1), request(2), request(3), request(4)],
        [frozen(1), frozen(3)],
        [claim("one", 1, 0)],
        [claim("one", 1, 100, 3), failed(1, True, 3)],
        [evaluated("one", run_id=run_id(1))],
        [],
    ]
    assert next_to_freeze(fold([event for i in order for event in topics[i]])) == request_of(topics[0], 4)
    assert next_to_freeze(fold([event for i in order for event in topics[i] if event != topics[0][3]])) is None


def test_the_first_frozen_dataset_of_a_run_counts() -> None:
    second = frozen(1).model_copy(update={"snapshot": sha("another")})
    run = open_run(fold([*OPEN, second]))
    assert run is not None
    assert run.frozen is not None
    assert run.frozen.snapshot == sha("1")


def request_of(events: list[Event], k: int) -> Event:
    return next(event for event in events if isinstance(event, TrainingRequested) and event.k == k)

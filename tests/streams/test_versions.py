"""No sequence of events makes a version champion that has not passed its gates and been approved."""

from typing import Any
from uuid import UUID

from hypothesis import given
from hypothesis import strategies as st

from storage.events import CanaryStarted, DuelDecided, Event, ModelEvaluated, ModelPromoted, ModelRolledBack, ReviewDecided, Verdict, new_id
from streams.versions import BASE, Versions, fold, legal_review, objection, promotions, step, version_name
from tests.streams.examples import accept_all, evaluated, sha
from trainers.audits.duel import DuelRule
from trainers.runs.terms import Terms

V1, V2 = version_name(sha("one")), version_name(sha("two"))


def fold_all(events: list[Event]) -> Versions:
    return fold(events, accept_all())


def review(version: str, decision: str = "approve") -> ReviewDecided:
    return ReviewDecided.model_validate(
        {"source": "product", "version": version, "decision": decision, "reviewer": "Grace", "reason": "the replies read well"}
    )


def promoted(version: str, by: UUID) -> ModelPromoted:
    return ModelPromoted(source="product", version=version, review=by)


def rolled_back(version: str) -> ModelRolledBack:
    return ModelRolledBack(source="product", version=version, reviewer="Grace", reason="complaints")


def with_champion(*policies: str) -> list[Event]:
    """Events in which each policy is judged against the one before it, approved and promoted."""
    events: list[Event] = []
    champion = BASE
    for policy in policies:
        version = version_name(sha(policy))
        approval = review(version)
        events += [evaluated(policy, champion=champion), approval, promoted(version, approval.event_id)]
        champion = version
    return events


def test_the_base_model_is_the_first_champion() -> None:
    state = fold_all([])
    assert (state.champion, state.champion_policy, state.previous) == (BASE, None, None)


def test_an_approved_version_becomes_champion_and_the_one_before_retires() -> None:
    state = fold_all(with_champion("one", "two"))
    assert (state.champion, state.champion_policy, state.previous) == (V2, sha("two"), V1)
    assert {name: version.status for name, version in state.versions.items()} == {V1: "retired", V2: "champion"}
    assert state.illegal == ()


def test_rollbacks_return_to_the_previous_champions_one_after_the_other() -> None:
    state = fold_all([*with_champion("one", "two"), rolled_back(V2)])
    assert (state.champion, state.previous, state.versions[V2].status, state.versions[V1].status) == (V1, BASE, "rolled back", "champion")
    state = step(state, rolled_back(V1), accept_all())
    assert (state.champion, state.champion_policy) == (BASE, None)
    assert "nothing before it" in (objection(state, rolled_back(BASE)) or "")


def test_a_version_that_failed_or_lacks_evidence_cannot_be_approved() -> None:
    for verdict in ("failed", "insufficient"):
        state = fold_all([evaluated("one", "passed", verdict)])
        assert state.versions[V1].status == "rejected"
        assert f"kl_budget: {verdict}" in (legal_review(state, V1, "approve") or "")
        state = fold_all([evaluated("one", "passed", verdict), review(V1)])
        assert state.versions[V1].status == "rejected"
        assert len(state.illegal) == 1


def test_an_evaluation_whose_verdict_contradicts_its_gates_has_no_effect() -> None:
    state = fold_all([evaluated("one", "failed", verdict="passed"), review(V1)])
    assert not state.versions
    assert "its gates say failed" in state.illegal[0].reason


def test_a_version_named_after_another_policy_has_no_effect() -> None:
    state = fold_all([evaluated("one", version=V2)])
    assert not state.versions
    assert len(state.illegal) == 1


def test_a_version_judged_against_a_former_champion_cannot_be_approved() -> None:
    state = fold_all([evaluated("two"), *with_champion("one")])
    assert "takes a new run" in (legal_review(state, V2, "approve") or "")
    assert legal_review(state, V2, "reject") is None


def test_the_first_verdict_on_a_version_stands() -> None:
    state = fold_all([evaluated("one", "failed"), evaluated("one", "passed", run_id=new_id())])
    assert state.versions[V1].status == "rejected"


def test_a_run_has_one_verdict() -> None:
    state = fold_all([evaluated("one"), evaluated("two", run_id=evaluated("one").run_id)])
    assert list(state.versions) == [V1]
    assert "has a verdict already" in state.illegal[0].reason


def test_a_rejected_version_stays_rejected() -> None:
    state = fold_all([evaluated("one"), review(V1, "reject"), review(V1, "approve")])
    assert state.versions[V1].status == "rejected"
    assert legal_review(state, V1, "approve") == f"{V1} is rejected; only a version that awaits review can be approved or rejected"


def test_an_approval_requires_one_promotion_until_it_is_on_the_log() -> None:
    approval = review(V1)
    state = fold_all([evaluated("one"), approval])
    (due,) = promotions(state)
    assert promotions(state) == [due]
    assert due.review == approval.event_id
    after = fold_all([evaluated("one"), approval, due, due])
    assert after.champion == V1
    assert promotions(after) == []
    assert after.illegal == ()


def test_a_promotion_that_names_another_review_has_no_effect() -> None:
    state = fold_all([evaluated("one"), review(V1), promoted(V1, new_id())])
    assert state.champion == BASE
    assert len(state.illegal) == 1


NAMES = st.sampled_from(["one", "two", "three"])
VERSIONS_ = st.sampled_from([BASE, *(version_name(sha(name)) for name in ("one", "two", "three"))])
CHAMPIONS = VERSIONS_
VERDICT: st.SearchStrategy[Verdict] = st.sampled_from(["passed", "failed", "insufficient"])
VERDICTS = st.lists(VERDICT, min_size=1, max_size=3)


@st.composite
def lives(draw: st.DrawFn) -> list[Event]:
    """Arbitrary events, including repeats and invalid ones; promotions often name an existing review."""
    events: list[Event] = []
    for _ in range(draw(st.integers(1, 25))):
        match draw(
            st.sampled_from(
                ["evaluated", "evaluated", "review", "review", "promoted", "promoted", "due", "duel", "duel", "rolled back", "repeat"]
            )
        ):
            case "evaluated":
                claim = draw(st.one_of(st.none(), VERDICT))
                fields: dict[str, Any] = {"verdict": claim} if claim else {}
                events.append(evaluated(draw(NAMES), *draw(VERDICTS), champion=draw(CHAMPIONS), **fields))
            case "review":
                events.append(review(draw(VERSIONS_), draw(st.sampled_from(["approve", "approve", "reject"]))))
            case "promoted":
                reviews = [event.event_id for event in events if isinstance(event, ReviewDecided)]
                events.append(promoted(draw(VERSIONS_), draw(st.sampled_from(reviews)) if reviews else new_id()))
            case "due":
                events.extend(promotions(fold_all(events)))
            case "duel":
                reviews = [event.event_id for event in events if isinstance(event, ReviewDecided)]
                outcome = draw(st.sampled_from(["better", "better", "futile", "harm", "expired"]))
                events.append(
                    duel_decided(draw(VERSIONS_), draw(st.sampled_from(reviews)) if reviews else new_id(), outcome, draw(CHAMPIONS))
                )
            case "rolled back":
                events.append(rolled_back(draw(VERSIONS_)))
            case "repeat" if events:
                events.append(draw(st.sampled_from(events)))
    return events


def duel_decided(version: str, by: UUID, outcome: str = "better", champion: str = BASE, stage: str = "duel") -> DuelDecided:
    return DuelDecided.model_validate(
        {
            "source": "product",
            "version": version,
            "review": by,
            "champion": champion,
            "stage": stage,
            "outcome": outcome,
            "through_sequence": 20,
            "evidence": sha("evidence"),
            "words": "by twenty judgments",
        }
    )


def test_where_the_run_asks_for_a_duel_approval_is_not_enough() -> None:
    terms = Terms(DuelRule())
    approval = review(V1)
    approved = [evaluated("one"), approval]
    state = fold(approved, accept_all(terms))
    assert (state.versions[V1].status, promotions(state)) == ("duel", [])
    assert "only an approved version" in (objection(state, promoted(V1, approval.event_id)) or "")
    won = fold([*approved, duel_decided(V1, approval.event_id)], accept_all(terms))
    (due,) = promotions(won)
    assert step(won, due, accept_all(terms)).champion == V1
    lost = fold([*approved, duel_decided(V1, approval.event_id, "futile")], accept_all(terms))
    assert (lost.versions[V1].status, promotions(lost)) == ("retired", [])


def test_where_the_run_asks_for_a_canary_winning_the_duel_is_not_enough() -> None:
    checks = accept_all(Terms(DuelRule(canary=(0.1,))))
    approval = review(V1)
    events: list[Event] = [evaluated("one"), approval, duel_decided(V1, approval.event_id)]
    state = fold(events, checks)
    assert (promotions(state), "canary has not ended" in (objection(state, promoted(V1, approval.event_id)) or "")) == ([], True)
    started = CanaryStarted(
        source="product", version=V1, review=approval.event_id, step=0, share=0.1, through_sequence=20, evidence=sha("evidence")
    )
    assert "by the run's settings" in (objection(state, started.model_copy(update={"share": 0.9})) or "")
    state = fold([*events, started, duel_decided(V1, approval.event_id, stage="canary")], checks)
    assert [each.version for each in promotions(state)] == [V1]


@given(lives())
def test_whoever_becomes_champion_where_duels_are_required_has_won_one(events: list[Event]) -> None:
    checks = accept_all(Terms(DuelRule()))
    won: set[str] = set()
    state = Versions()
    for event in events:
        state = step(state, event, checks)
        if isinstance(event, DuelDecided) and event.outcome == "better":
            won.add(event.version)
    assert set(state.champions) <= {BASE, *won}


@given(lives())
def test_whoever_becomes_champion_has_passed_every_gate_and_been_approved(events: list[Event]) -> None:
    state = Versions()
    for i, event in enumerate(events):
        before, state = state, step(state, event, accept_all())
        if len(state.champions) > len(before.champions):
            past = events[:i]
            passed = [e for e in past if isinstance(e, ModelEvaluated) and e.version == state.champion]
            assert all(gate.verdict == "passed" for gate in state.versions[state.champion].evaluated.gates)
            assert state.versions[state.champion].evaluated in passed
            assert state.versions[state.champion].evaluated.champion == before.champion
            assert isinstance(event, ModelPromoted)
            assert any(
                isinstance(e, ReviewDecided) and e.event_id == event.review and e.decision == "approve" and e.version == state.champion
                for e in past
            )
        elif state.champion != before.champion:
            assert isinstance(event, ModelRolledBack)
            assert state.champion == before.previous


@given(lives())
def test_every_event_either_takes_effect_or_is_listed_once_and_repeats_do_nothing(events: list[Event]) -> None:
    state = fold_all(events)
    assert fold_all([*events, *events]) == state
    listed = [illegal.event.event_id for illegal in state.illegal]
    assert len(listed) == len(set(listed))
    assert sum(version.status == "champion" for version in state.versions.values()) == (state.champion != BASE)


def test_alpha_counts_the_sufficient_verdicts_against_the_current_champion_only() -> None:
    state = fold_all([evaluated("a", "failed"), evaluated("b", "insufficient"), evaluated("c", "failed")])
    assert state.verdicts_against(BASE) == 2
    promoted_one = fold_all([evaluated("a", "failed"), *with_champion("one")])
    assert (promoted_one.champion, promoted_one.verdicts_against(V1), promoted_one.verdicts_against(BASE)) == (V1, 0, 2)
    back = fold_all([evaluated("a", "failed"), *with_champion("one"), rolled_back(V1)])
    assert back.verdicts_against(back.champion) == 2

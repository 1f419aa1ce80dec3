"""A reward head as the learner would have saved it, for tests of what the hub reads from it."""

from typing import Any

import numpy as np

from storage.events import RewardUpdated, pack
from tests.dashboard.small_world import EMBEDDING, RunningHub
from tests.trainers.preferences import Truth, changed, drawn, preference_in
from trainers.data.preference import Entry, Features
from trainers.reward.online.checkpoint import save_hashed
from trainers.reward.online.head import Head
from trainers.reward.online.learn import learn_all, new_head, reconcile
from trainers.reward.online.settings import HeadSettings

D = 8


def learnt_head(judgments: int = 400) -> Head:
    """Eight recruiters, two of whom answer at random, and a few answers about one objective; every fifth pair is judged twice."""
    truth = Truth(np.random.default_rng(3).normal(size=D) * 4, random=2)
    entries = drawn(judgments, D, 4, truth)
    given: list[Entry] = []
    for n, each in enumerate(entries):
        found = preference_in(each)
        assert found.features is not None
        features = Features(EMBEDDING, found.features.a, found.features.b)
        fields: dict[str, Any] = {"features": features, "objectives": {"helpful": found.choice} if n % 3 == 0 else {}}
        if n % 5 == 4:
            before = preference_in(given[-1])
            fields |= {"features": before.features, "pair_id": before.pair_id, "choice": before.choice, "recruiter": f"r-{n % 7}"}
        given.append(changed(each, **fields))
    return reconcile(learn_all(new_head(HeadSettings(), EMBEDDING, D, ("product", "simulation")), given))


def save_as_the_learner(hub: RunningHub, head: Head) -> None:
    """Write the checkpoint into the learner's folder, and announce it."""
    path = hub.world.settings.common.home / "learner" / head.head_id / "head.safetensors"
    path.parent.mkdir(parents=True, exist_ok=True)
    digest = save_hashed(head, path)
    accuracy, log_loss, n = head.prequential
    hub.world.publish(
        RewardUpdated(
            source="simulation", head_id=head.head_id, sequence=head.sequence, judgments_before=0, judgments_seen=head.judgments_seen,
            mean=pack(head.overall.mean), prequential_accuracy=accuracy, prequential_log_loss=log_loss, prequential_n=n, checkpoint=digest,
        )
    )  # fmt: skip

"""The real preferences that reward models are measured on, with the features of the shipped embedding."""

from dataclasses import replace
from functools import cache
from pathlib import Path

from storage.settings import Common, Settings
from trainers.audits.evidence import with_features
from trainers.data.preference import Features, Preference
from trainers.data.records import read_preferences
from trainers.features.embedder import Embedder
from trainers.features.settings import FeatureSettings

FOLDER = Path(__file__).resolve().parents[3] / "shared" / "data" / "preference"
HARMLESS, HELPFUL = "hh_harmless_base_dev.jsonl.gz", "pandalm_dev.jsonl.gz"
SETTINGS = Settings(Common())


@cache
def preferences(name: str) -> tuple[Preference, ...]:
    """The preferences of the file ``name``; all of them train, so that the caller splits them."""
    path = FOLDER / name
    if not path.exists():
        raise SystemExit(f"{path}: not there; this row is measured where the real data lie beside the project")
    return tuple(replace(each, stratum="training") for each in read_preferences(path).preferences)


@cache
def embedder() -> Embedder:
    """The shipped embedding."""
    return Embedder.load(SETTINGS.section("features", FeatureSettings))


@cache
def embedded(name: str) -> tuple[Preference, ...]:
    """The same with features: a minute for a thousand pairs."""
    found = []
    for start in range(0, len(preferences(name)), 64):
        some = preferences(name)[start : start + 64]
        a, b = with_features(some, embedder())
        found += [replace(each, features=Features(embedder().hash, *pair)) for each, *pair in zip(some, a, b, strict=True)]
    return tuple(found)

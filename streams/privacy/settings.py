"""The section ``[privacy]``."""

from pydantic import BaseModel, ConfigDict, field_validator

from storage.settings import section


@section("privacy")
class PrivacySettings(BaseModel):
    """The section ``[privacy]``: what is redacted from texts before they are logged, and whether they are sealed.

    Attributes
    ----------
    seal : whether texts are encrypted under keys of their own, without which nobody can read them. The keys lie in ``text-keys.sqlite`` in
        home, and on Kafka on the topic ``privacy.text_keys``: back them up apart from the log
    redact : whether to replace personal data by placeholders such as ``[PHONE]``; what the model reads and candidates see stays as it is
    regions : countries whose national telephone numbers are recognised; numbers with ``+`` and a country code always are
    keep : the company's own contact details, which are facts to learn: e-mail addresses, domains, telephone numbers, postal addresses
    presidio_model : spaCy model with which Microsoft Presidio searches too, such as ``en_core_web_lg``; both have to be installed. If
        empty, Presidio is not used
    presidio_entities : what Presidio looks for. Names, places and dates are left out: recruiters' facts consist of them
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    seal: bool = True
    redact: bool = True
    regions: tuple[str, ...] = ("US", "GB", "DE", "FR", "ES", "IT", "NL", "PL", "SE", "IN")
    keep: tuple[str, ...] = ()
    presidio_model: str = ""
    presidio_entities: tuple[str, ...] = (
        "CREDIT_CARD",
        "EMAIL_ADDRESS",
        "IBAN_CODE",
        "MEDICAL_LICENSE",
        "UK_NHS",
        "US_BANK_NUMBER",
        "US_DRIVER_LICENSE",
        "US_ITIN",
        "US_PASSPORT",
        "US_SSN",
    )

    @field_validator("regions")
    @classmethod
    def _known(cls, regions: tuple[str, ...]) -> tuple[str, ...]:
        from phonenumbers import SUPPORTED_REGIONS  # loads the table of all countries

        for region in regions:
            if region not in SUPPORTED_REGIONS:
                raise ValueError(f"{region[:20]!r} is no country code such as US, GB or DE")
        return regions

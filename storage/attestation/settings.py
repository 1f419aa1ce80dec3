"""Settings of the signed promotion records."""

from pydantic import BaseModel, ConfigDict

from storage.places import FullPath
from storage.settings import section


@section("attestation")
class AttestationSettings(BaseModel):
    """The section ``[attestation]``: keys are PEM files, private ones readable by their owner only.

    Attributes
    ----------
    key : the service's private Ed25519 key; by default ``keys/service.pem`` in ``home``, generated when the hub first starts
    reviewer_key : a reviewer's private Ed25519 key, which signs records as well; none by default
    trusted : further public keys of services whose records are accepted: the key before a rotation, or the hub's key on other machines
    trusted_reviewers : further public keys of reviewers
    required : refuse promotions without a valid record; those on the log before its first record are accepted as "not attested"
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    key: FullPath | None = None
    reviewer_key: FullPath | None = None
    trusted: tuple[FullPath, ...] = ()
    trusted_reviewers: tuple[FullPath, ...] = ()
    required: bool = True

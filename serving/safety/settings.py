"""The section ``[safety]``: what each filter does, and the moderation endpoint. Keys of filters come from the table."""

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, SecretStr

from storage.events import Text
from storage.settings import sections_of

APOLOGY = "I am sorry, I cannot answer this. A recruiter will be glad to help you."


class SafetySettings(BaseModel):
    """The section ``[safety]``: what filters do about a finding, and the moderation endpoint.

    ``off``; ``flag``: record it only; ``replace``: leave the sentence of a reply out, or hand a candidate's message to the model as quoted
    data; ``block``: send ``apology`` in place of the reply.

    Attributes
    ----------
    apology : what the candidate gets where nothing else is left of a reply
    moderation_url : base URL of a server with OpenAI's ``/moderations``, including ``/v1``
    moderation_key, moderation_model : its API key (put it into ``.env``) and the model to request
    moderation_timeout : seconds that an answer may take
    moderation_on_error : what happens to texts while it does not answer. They ``pass`` by default, since the other filters have read them
        and an outage elsewhere would otherwise end every conversation; each is recorded as unchecked. ``block`` sends the apology
    moderation_pause : seconds after a failure during which it is not asked again
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    apology: Text = APOLOGY
    moderation_url: str = "https://api.openai.com/v1"
    moderation_key: SecretStr = SecretStr("")
    moderation_model: str = "omni-moderation-latest"
    moderation_timeout: Annotated[float, Field(gt=0)] = 3.0
    moderation_on_error: Literal["pass", "block"] = "pass"
    moderation_pause: Annotated[float, Field(ge=0)] = 10.0


def safety_section() -> type[SafetySettings]:
    """The section's model, with a key for each filter."""
    from serving.safety.table import section_of_filters

    return section_of_filters()


sections_of(lambda: {"safety": safety_section()})

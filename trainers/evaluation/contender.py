"""A model that is evaluated, or that another one is held against: a folder, an id, ``shipped``, or a version of a running loop."""

from dataclasses import dataclass
from pathlib import Path

from trainers.audits.trial import ModelRef
from trainers.models.model_files import adapter_base, is_adapter
from trainers.models.references import resolve_model


@dataclass(frozen=True)
class Contender:
    """A model by its name.

    Attributes
    ----------
    name : what it is called in reports
    ref : where it is loaded from; equal for two names of one model
    base : the model whose adapter it is; a whole model itself
    policy : hash of its adapter in the artifact store; None for anything else
    """

    name: str
    ref: ModelRef
    base: str
    policy: str | None = None

    @classmethod
    def of(cls, model: str) -> "Contender":
        """The model in a folder, the adapter in a folder, a Hugging Face id, or ``shipped``.

        Raises
        ------
        ModelNotFound
            There is no such folder, or it holds no model.
        """
        folder = Path(model).expanduser()
        return cls(model, model_ref(model), adapter_base(folder) if is_adapter(folder) else model)

    @property
    def is_whole(self) -> bool:
        """Whether it is a model of its own, and no adapter on another one."""
        return self.ref == model_ref(self.base)


def model_ref(model: str, adapter: Path | None = None) -> ModelRef:
    """A reference that is equal for ``shipped`` and its folder, and for two spellings of a path."""
    place = resolve_model(model)
    return ModelRef(str(Path(place).resolve()) if Path(place).is_dir() else place, adapter)

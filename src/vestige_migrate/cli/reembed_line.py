"""The line about memories that await a re-embed, as a person reads it: how many, why, and what to do."""

from __future__ import annotations

from vestige_migrate.model import ModelSignature
from vestige_migrate.model_names import MINI, MINI_DIMENSION
from vestige_migrate.source.read.reembed import Reason

_ADVICE = "let Vestige re-embed them in the source, then copy it into a new database"


def awaiting_line(count: int, reasons: dict[str, int], model: ModelSignature | None) -> str:
    """One line, whatever the terminal's width. Without reasons all of the vectors are of another model."""
    memories = "1 memory awaits" if count == 1 else f"{count} memories await"
    if set(reasons) <= {Reason.OTHER_MODEL}:
        if model is None:
            return f"{memories} a re-embed: the vectors in the source have several lengths, and the commonest came over"
        return f"{memories} a re-embed: the vectors in the source are not of {_named(model)}; {_ADVICE}"
    said = [_WORDS[reason](reasons[reason], model) for reason in _WORDS if reason in reasons]
    return f"{memories} a re-embed: {', '.join(said)}; {_ADVICE}"


def _named(model: ModelSignature) -> str:
    return f"{model.name} (dim {model.dimension})"


def _of_other_model(count: int, model: ModelSignature | None) -> str:
    of = f"not of {_named(model)}" if model is not None else "of another length than most"
    return f"{_vectors(count)} {of}"


def _edited(count: int, _: ModelSignature | None) -> str:
    return f"{_vectors(count)} of an earlier text than the one that is there now (has_embedding is 0)"


def _absent(count: int, _: ModelSignature | None) -> str:
    claims = "claims to have one and has none" if count == 1 else "claim to have one and have none"
    return f"{count} {claims} (has_embedding is 1)"


def _vectors(count: int) -> str:
    return "1 vector is" if count == 1 else f"{count} vectors are"


def _mislabelled(count: int, _: ModelSignature | None) -> str:
    has = "has" if count == 1 else "have"
    return f"{_vectors(count)} labelled {MINI} and {has} not its {MINI_DIMENSION} dimensions (Vestige skips such a one)"


_WORDS = {
    Reason.OTHER_MODEL: _of_other_model,
    Reason.MISLABELLED: _mislabelled,
    Reason.EDITED: _edited,
    Reason.ABSENT: _absent,
}

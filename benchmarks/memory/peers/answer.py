"""One peer asked one case: an answer, or a refusal with its reason; a peer that fails ends nobody else's run."""

from __future__ import annotations

from types import ModuleType

from benchmarks.memory.peers.case import Case, Prediction
from benchmarks.peers import reason_of


def answer(module: ModuleType, case: Case) -> Prediction:
    """Return what the peer predicts; what it raises becomes the reason of a refusal."""
    try:
        prediction: Prediction = module.predict(case)
    except KeyError as error:
        return Prediction(refused=f"no {error.args[0]} in the config")
    except Exception as error:
        return Prediction(refused=reason_of(error))
    return prediction

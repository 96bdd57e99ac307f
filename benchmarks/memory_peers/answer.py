"""One peer asked one case: an answer, or a refusal with its reason; a peer that fails ends nobody else's run."""

from __future__ import annotations

from types import ModuleType

from benchmarks.memory_peers.case import Case, Prediction, Refused

REASON_LENGTH = 100


def answer(module: ModuleType, case: Case) -> Prediction:
    """Return what the peer predicts; what it raises becomes the reason of a refusal."""
    try:
        prediction: Prediction = module.predict(case)
    except Refused as refusal:
        return Prediction(refused=str(refusal)[:REASON_LENGTH])
    except KeyError as error:
        return Prediction(refused=f"no {error.args[0]} in the config")
    except Exception as error:
        text = " ".join(str(error).split())
        return Prediction(refused=f"{type(error).__name__}: {text}"[:REASON_LENGTH])
    return prediction

"""What an attack on a certified input makes of it, as its result's detail says it. An attack never fails a job."""

import base64
import logging
from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from models.counts import ATTACK_FAILED
from models.types import Json
from radii.attacks import Attack, NotAttackable
from radii.smoothing import input_digest
from workers.runner.heartbeat import phase

log = logging.getLogger(__name__)


def attacked(x: npt.NDArray[np.generic], attack: Callable[[], Attack]) -> Json:
    """``distance`` and ``prediction`` of what was found, and whether it contradicts the certificate; or
    ``not_checked``, the reason. A contradiction has its evidence: the adversarial input, in base64."""
    try:
        with phase("attacking what was certified"):
            found = attack()
    except NotAttackable as error:
        return {"not_checked": str(error)}
    except Exception:
        log.exception("an attack failed")
        return {"not_checked": ATTACK_FAILED}
    detail: Json = {
        "distance": found.distance,
        "prediction": found.prediction,
        "contradicted": found.contradicted,
        "input": input_digest(x),
    }
    if found.x is not None:
        evidence = np.ascontiguousarray(found.x, found.x.dtype.newbyteorder("<"))
        detail["adversarial"] = {
            "dtype": evidence.dtype.str,
            "shape": list(evidence.shape),
            "base64": base64.b64encode(evidence.tobytes()).decode(),
        }
    return detail

"""The cross-check of a certification: which inputs are attacked, and what the attacks say of it. Pure functions.

A certificate of a smoothed classifier is false with probability alpha, so a success among many is no surprise; one that
is deterministic is never false, and its alpha is 0. Formulas: docs/numerics.md 9.4.
"""

import hashlib
import math
from collections.abc import Collection, Mapping
from itertools import count

from models.base import Json
from models.plan import Plan

MOST, ONE_IN = 10, 50  # inputs, where nothing was asked
SURPRISE = 1e-6  # less likely than this, it is no chance


def drawn(method: Json, model_digest: str, indices: range) -> list[int]:
    """The inputs to attack where they are certified: chosen before anything is known of them."""
    asked, total = method.get("cross_check", 0), len(indices)
    number = min(MOST, math.ceil(total / ONE_IN)) if asked is None else min(asked, total)
    places: set[int] = set()
    draws = count()
    while len(places) < number:
        word = f"cross-check {model_digest} {indices} {next(draws)}".encode()
        places.add(int.from_bytes(hashlib.sha256(word).digest()) % total)
    return sorted(indices[place] for place in places)


def tally(plan: Plan, inputs: int, drawn: Collection[int], attacks: Mapping[int, Json]) -> Json:
    """The figures of a cross-check of ``drawn`` out of ``inputs`` inputs; ``attacks``: what results say, by index.

    ``probability`` is that of so many contradictions or more by chance, at most. All inputs drawn are in it, for
    alpha bounds how often an input is certified *and* falsely so. Contradictions among others are known from earlier
    certifications: then all inputs are in it, since who knows how those came to be looked at. Equal inputs are one:
    they share their noise.
    """
    checked = {index: attack for index, attack in attacks.items() if "not_checked" not in attack}
    contradicted = sorted(index for index, attack in checked.items() if attack["contradicted"])
    distinct = len({attacks[index]["input"] for index in contradicted})
    trials = len(drawn) if set(contradicted) <= set(drawn) else inputs
    return {
        "drawn": len(drawn),
        "attacked": len(checked),
        "contradicted": len(contradicted),
        "contradicted_inputs": contradicted,
        "probability": at_least(distinct, trials, min(plan.chance, 1.0)),
        "not_checked": sorted({attack["not_checked"] for attack in attacks.values() if "not_checked" in attack}),
    }


def damning(found: Json) -> str | None:
    """Why a certification with this tally may not stand; None if it may."""
    if found["probability"] >= SURPRISE:
        return None
    inputs = ", ".join(map(str, found["contradicted_inputs"]))
    return (
        f"{found['contradicted']} of {found['attacked']} certified inputs that were attacked are answered otherwise "
        f"inside their radius: {inputs}. Probability by chance: {found['probability']:.1g} at most."
    )


def at_least(successes: int, trials: int, probability: float) -> float:
    """P(Binomial(trials, probability) >= successes). Terms are made of their logarithms: of many trials there are more
    combinations than a float holds."""
    if successes == 0 or probability >= 1.0:
        return 1.0
    if probability == 0.0:
        return 0.0
    log_odds = math.log(probability) - math.log1p(-probability)
    log_term = math.lgamma(trials + 1) - math.lgamma(successes + 1) - math.lgamma(trials - successes + 1)
    log_term += successes * log_odds + trials * math.log1p(-probability)
    log_terms = [log_term]
    for k in range(successes, trials):
        log_term += math.log(trials - k) - math.log(k + 1) + log_odds
        log_terms.append(log_term)
    return min(1.0, math.fsum(map(math.exp, log_terms)))

"""What tries to break a certificate: an attack that succeeds strictly inside a certified radius.

Against a deterministic radius one success is a bug; against a smoothed one, which is false with probability alpha, a
success is counted. An attack that fails proves nothing. Needs torch, numpy and SciPy alone.
"""

from radii.attacks.network import attack_network
from radii.attacks.result import Attack, NotAttackable
from radii.attacks.smoothed import LEVEL, PROOF, SmoothedAttack
from radii.attacks.splitting import attack_splitting

__all__ = ["LEVEL", "PROOF", "Attack", "NotAttackable", "SmoothedAttack", "attack_network", "attack_splitting"]

"""What runs the samples of a certification: found by measurement once, the same for all its shards."""

import logging
from collections.abc import Callable
from dataclasses import asdict
from functools import cached_property, partial

import numpy as np
import torch

from models.types import Json
from radii.execution import executors, search
from radii.execution.executors import START, TORCH, Execution
from radii.execution.row_invariance import row_invariant
from radii.execution.search import SHARE, TOLERANCE, first_line
from radii.methods import Smoothed
from radii.smoothing import Noise, rounded
from radii.smoothing.sampling import Classifier
from workers.messages import Order
from workers.runner.heartbeat import phase, stepping
from workers.runner.loaded_model import LoadedModel, described, inputs

log = logging.getLogger(__name__)

Ask = Callable[[Json], Json]
"""Proposes an execution; the one that the certification has from now on, which another worker may have chosen."""

SEED = bytes(32)  # no certificate's: those come from the secret
ROWS = 10  # compared with torch's before an executor counts anything for an order
INPUTS_PER_BATCH = 64  # looks of 50 samples fill three batches of 1000


class ImpreciseNetwork(ValueError):
    """In the precision that was asked for the network is not the one that was uploaded, but for rounding."""


class Runs:
    """The executor of one certification; chosen when its first samples are needed."""

    def __init__(
        self,
        method: Smoothed,
        model: LoadedModel,
        order: Order,
        noise: Noise,
        ask: Ask,
        *,
        exact: bool,
        inputs_per_batch: int | None = None,
    ) -> None:
        """``exact``: samples run in float64 on the CPU, which nothing but torch does. ``inputs_per_batch``: how many
        inputs share batches at most; by default one on a CPU."""
        self.method, self.model, self.order, self.noise, self.ask, self.exact = method, model, order, noise, ask, exact
        self.rounded_to = method.rounded_to(order.grid, order.model.settings["input"]["range"])
        self.dtype: torch.dtype = getattr(torch, method.precision)
        self._most = inputs_per_batch or (1 if model.device.type == "cpu" else INPUTS_PER_BATCH)
        self._begun = False

    @property
    def execution(self) -> Execution:
        """The certification's; torch at its batch size where that executor does not run here."""
        self._begun = True
        return self._running[0]

    @cached_property
    def _running(self) -> tuple[Execution, Classifier]:
        if self.exact:
            network = self.model.logits  # made here, not in inference mode, where it would have no gradients
            return self._settled, lambda noisy: network(noisy.double())
        found, soft = self._settled, self.method.soft
        reference = self.model.network(soft=soft, dtype=self.dtype)
        try:
            chosen = self.model.kept(found, soft=soft, dtype=self.dtype)
            if found.executor != TORCH:
                self._check(chosen, reference, min(ROWS, found.batch_size))
            return found, chosen
        except Exception as error:  # another worker's choice, which has a compiler that this one has not, say
            log.warning("torch takes the place of %s: %s", found.executor, first_line(error))
        return Execution(TORCH, found.batch_size), reference

    def _check(self, chosen: Classifier, reference: Classifier, rows: int) -> None:
        """Who found it may have had another version, or another processor: here nobody has compared it yet. Raises
        ``ValueError`` where its logits are not those of torch."""
        batch = self._draw(rows)
        with torch.inference_mode():
            if not search.agree(chosen(batch), reference(batch), self.dtype):
                raise ValueError("its logits are not those of the reference")

    @cached_property
    def _settled(self) -> Execution:
        """Torch instead of what is of another kind of device, or of what may have ended an attempt with its process."""
        settled = self.order.execution
        if settled is None:
            with phase("choosing what runs the samples", self.model.device):
                settled = self.ask(self._proposal())
        found = Execution(settled["executor"], settled["batch_size"])
        here = executors.executors(self.model.graph, self.model.device, self.dtype)
        trusted = found.executor in here and self.order.attempts == 1
        return found if trusted else Execution(TORCH, found.batch_size)

    def said(self) -> Json:
        """What a result says of the program that ran its samples, where any were drawn."""
        said: Json = {} if self.rounded_to is None else {"rounded_to": self.rounded_to}
        if self._begun or self.order.execution:
            said |= asdict(self.execution if self._begun else self._settled) | {"device": self._device}
        return said

    @cached_property
    def _device(self) -> str:
        return described(torch.device("cpu") if self.exact else self.model.device)

    @cached_property
    def classifier(self) -> Classifier:
        """Noisy copies (batch, *shape) to logits."""
        if self.dtype != torch.float32 and not self.exact:
            self._compare()
        return stepping(self.rounding(self._running[1]))

    @property
    def clean(self) -> Classifier:
        """The network f, in the precision of this certification: it needs no executor to be chosen."""
        if self.exact:
            network = self.model.logits
            return lambda batch: network(batch.double())
        return self.model.network(soft=self.method.soft, dtype=self.dtype)

    @cached_property
    def inputs_per_batch(self) -> int:
        """How many inputs may share batches.

        The same executor counts the same votes at the same batch size, with one worker or four, interrupted or not. In
        a batch that inputs share, a row's place depends on all that is asked beside it: so they share none where its
        bits depend on its place.
        """
        if self._most == 1:
            return 1
        kind = self.dtype, self.execution
        if kind not in self.model.row_invariant:
            self.model.row_invariant[kind] = row_invariant(self.classifier, self._draw(self.execution.batch_size))
            if not self.model.row_invariant[kind]:
                log.info("%s: inputs share no batch, in which their place would matter", kind)
        return self._most if self.model.row_invariant[kind] else 1

    def rounding(self, classifier: Classifier) -> Classifier:
        """It, behind what rounds noisy copies, where that is asked."""
        return classifier if self.rounded_to is None else rounded(classifier, *self.rounded_to)

    def _compare(self) -> None:
        """A kernel that is wrong in this precision, or a network that does not bear it: what is certified here would be
        nothing that anyone serves."""
        batch = self._draw(min(START, self.execution.batch_size))
        here, full = (self.model.network(soft=self.method.soft, dtype=dtype) for dtype in (self.dtype, torch.float32))
        with torch.inference_mode():
            alike = search.agree(here(batch), full(batch), self.dtype)
        if not alike:
            raise ImpreciseNetwork(
                f"In {self.method.precision} some logits differ from those in float32 by more than "
                f"{TOLERANCE[self.dtype]:.0%} of the largest."
            )

    def _proposal(self) -> Json:
        model, given, samples = self.model, self.order.batch_size, self._samples()
        sizes = search.batch_sizes(model.graph, model.device) if given is None else [given]
        few = model.device.type == "cpu" and samples * SHARE < START  # not even the first look pays
        if self.exact or few or self.order.attempts > 1:  # or a look may have ended the last attempt
            return asdict(Execution(TORCH, max((size for size in sizes if size <= START), default=sizes[0])))
        if given is None and (known := self._known(samples)) is not None:
            return known
        execution = search.fastest(
            executors.executors(model.graph, model.device, self.dtype),
            partial(model.build, soft=self.method.soft, dtype=self.dtype),
            self._draw,
            sizes=sizes,
            samples=samples,
            clock=search.clock_of(model.device),
            dtype=self.dtype,
        )
        proposal = asdict(execution)
        return proposal if given is not None else proposal | {"searched": {"device": self._device, "samples": samples}}

    def _known(self, samples: int) -> Json | None:
        """What an earlier search found for this network on such a device, if it was not for far fewer samples."""
        network = ("soft" if self.method.soft else "hard", self.method.precision)
        for known in self.order.executions:
            method, searched = known["method"], known["searched"]
            same = (method.get("scores", "hard"), method.get("precision", "float32")) == network
            if same and searched["device"] == self._device and samples <= 10 * searched["samples"]:
                return {key: value for key, value in known.items() if key != "method"}
        return None

    def _samples(self) -> int:
        """About how many the certification takes."""
        return self.method.expected_samples(self.order.inputs)

    def _draw(self, size: int) -> torch.Tensor:
        """The first noisy copies of the shard's first input, the same each time."""
        xs, _ = inputs(self.order, self.model.graph)
        x = torch.from_numpy(np.array(xs[self.order.indices[0]])).to(self.model.device)
        batch = torch.empty((size, *x.shape), device=x.device)
        self.noise.stream(SEED, x)(batch)
        return batch

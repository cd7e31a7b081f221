"""Why a diagnostic can't be made: each class is one reason, and its docstring the remedy."""


class CannotDiagnose(ValueError):
    """The question has no answer as it is asked. The message says why."""


class NoLabels(CannotDiagnose):
    """A loss and an accuracy need the right classes: give one label an input."""


class OneClass(CannotDiagnose):
    """With one output the softmax cross-entropy is 0 whatever the weights: diagnose one of two classes or more."""


class ConstantNetwork(CannotDiagnose):
    """The network answers the same everywhere, or a layer of it is zero: check that these are the trained weights."""


class NonFiniteLoss(CannotDiagnose):
    """The loss is NaN or infinite: find the input, or the layer, where the network overflows."""


class NoWeights(CannotDiagnose):
    """Nothing of the network is a weight of a dense or convolution layer: diagnose one that has such layers."""


class InTraining(CannotDiagnose):
    """BatchNorm and dropout answer otherwise in training: call ``network.eval()`` first."""


class DifferentArchitectures(CannotDiagnose):
    """Checkpoints of one training run differ in their weights alone: give those of one network."""


class NoBands(CannotDiagnose):
    """Frequencies need a signal of several pixels: inputs of shape (channels, length) or (channels, height, width)."""


class TooManyBands(CannotDiagnose):
    """Exact shares look at every subset of bands: ask for 8 bands at most, or for shares by permutations."""

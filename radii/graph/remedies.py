"""What to tell the owner of a file we can't read."""

BLACK_OP = 'Export by plain operators: skl2onnx.to_onnx(..., black_op={"LinearClassifier", "Normalizer", "Scaler"})'
ZIPMAP = 'Export the probabilities as a tensor: skl2onnx.to_onnx(..., options={"zipmap": False})'
CUT = "Where they are no output yet: onnx.utils.extract_model(FILE, NEW, [INPUT], [LOGITS])"
BASIC = "(onnxruntime: ORT_ENABLE_BASIC at most)"
SUPPORTED = "Express the layer by supported operators (docs/operators.md lists them, as does GET /v1/capabilities)"

_MAGIC = (
    (b"PK\x03\x04", "a zip archive, as torch.save, TorchScript and Keras write"),
    (b"\x80\x02", "a pickle"),
    (b"\x80\x03", "a pickle"),
    (b"\x80\x04", "a pickle"),
    (b"\x80\x05", "a pickle"),
    (b"\x89HDF", "an HDF5 file, as Keras writes"),
    (b"\x1f\x8b", "compressed"),
    (b"\x93NUMPY", "a NumPy array"),
    (b"<", "markup, such as an error page"),
)

# What QuantFormat.QOperator and quantize_dynamic write; those with a Q in front may be of the domain com.microsoft.
_QUANTISED = [
    "QGemm",
    "QLinearAdd",
    "QLinearAveragePool",
    "QLinearConcat",
    "QLinearConv",
    "QLinearGlobalAveragePool",
    "QLinearLeakyRelu",
    "QLinearMatMul",
    "QLinearMul",
    "QLinearSigmoid",
    "QLinearSoftmax",
    "ConvInteger",
    "DynamicQuantizeLinear",
    "MatMulInteger",
    "DynamicQuantizeMatMul",
    "MatMulIntegerToFloat",
]
_AS_QDQ = (
    "it computes in integers by an operator of its own; quantised networks are taken as QDQ files alone",
    "Quantise it with onnxruntime's quantize_static(..., quant_format=QuantFormat.QDQ)",
)
_LOOPS = ["If", "Loop", "Scan", "SequenceMap"]
_RECURRENT = ["LSTM", "GRU", "RNN"]
_RANDOM = ["RandomNormal", "RandomNormalLike", "RandomUniform", "RandomUniformLike", "Bernoulli", "Multinomial"]

_INDICES = ["ArgMax", "ArgMin", "NonZero"]

_FAMILIES: tuple[tuple[list[str], str, str], ...] = (
    (_QUANTISED, *_AS_QDQ),
    (_LOOPS, "it is control flow", "Export with control flow traced away"),
    (_RECURRENT, "recurrent layers are not supported", SUPPORTED),
    (_INDICES, "it makes indices, which jump", f"Name the logits, which are before it, as the output. {CUT}"),
    (_RANDOM, "it draws random numbers", "Remove the randomness: a certificate is about a function"),
)

_CLASSICAL: tuple[tuple[list[str], str], ...] = (
    (["ZipMap"], ZIPMAP),
    (["LabelEncoder"], "Name the probabilities, which are before it, as the output"),
    (["Normalizer"], BLACK_OP),
)


def quoted(name: str) -> str:
    """A name from the file for a message: escaped and cut."""
    return ascii(name if len(name) <= 80 else name[:77] + "...")


def remedy_for_bytes(data: bytes) -> tuple[str, str] | None:
    """Reason and remedy for what is plainly some other format; None: it may be ONNX."""
    if not data:
        return "the file is empty", "Upload the file that torch.onnx.export wrote"
    for magic, what in _MAGIC:
        if data.startswith(magic):
            return (
                f"the file is not ONNX: it is {what}",
                "Convert it on your own machine with torch.onnx.export, then upload the .onnx file",
            )
    return None


def remedy_for_domain(domain: str, operator: str) -> tuple[str, str]:
    """Reason and remedy for a node outside the default domain (``domain`` quoted already)."""
    if operator in _QUANTISED:
        return _AS_QDQ
    if not domain.startswith("'ai.onnx.ml"):
        return (
            f"the domain {domain} is not supported",
            f"Export to the default domain: without custom operators and before any runtime's own optimisation {BASIC}",
        )
    for family, remedy in _CLASSICAL:
        if operator in family:
            return f"it is of the domain {domain}, of which this is not supported", remedy
    return (
        f"the domain {domain} (trees, scalers, encoders) is not supported: its functions are not continuous",
        "Certify a neural network instead",
    )


def remedy_for_operator(operator: str) -> tuple[str, str]:
    """Reason and remedy for an operator we don't have."""
    for family, reason, remedy in _FAMILIES:
        if operator in family:
            return reason, remedy
    return "the operator is not supported", SUPPORTED


def remedy_on_activations(operator: str) -> tuple[str, str]:
    """Reason and remedy for an operator that is known on constants and sizes only."""
    if operator in _INDICES:
        return remedy_for_operator(operator)
    return "it is supported on constants and sizes only", SUPPORTED

"""Every problem that radii reports, as RFC 9457 documents: in HTTP answers, and in rows of rejected models,
rejected data sets and failed jobs. ``type`` is ``/problems/<slug>``, a page that the service itself serves."""

from enum import Enum
from typing import Any


class Problem(Enum):
    """slug, HTTP status, title, and what to do about it in general (``detail`` says it for the case at hand)."""

    # fmt: off
    INVALID_REQUEST = ("invalid-request", 422, "The request does not fit its schema", "Correct the fields that `errors` names and send it again.")
    MALFORMED_JSON = ("malformed-json", 400, "The body is not valid JSON", "Send a JSON object with Content-Type: application/json.")
    UNSUPPORTED_MEDIA_TYPE = ("unsupported-media-type", 415, "The body is not declared as JSON", "Send Content-Type: application/json (curl: -H 'Content-Type: application/json').")
    UNKNOWN_PARAMETER = ("unknown-parameter", 400, "Unknown query parameter", "Remove the parameter, or correct its spelling: unknown ones are refused so that a typo can't change an answer.")
    REPEATED_PARAMETER = ("repeated-parameter", 400, "A query parameter is there more than once", "Give it once: of several values one would be ignored.")
    NOT_ACCEPTABLE = ("not-acceptable", 406, "Accept excludes every type that this call answers", "Leave Accept out, or name a type that `detail` lists without q=0.")
    UNSUPPORTED_ENCODING = ("unsupported-encoding", 415, "The body is compressed", "Send it as it is, without Content-Encoding (curl: gunzip the file first, and leave that header out).")
    UNAUTHENTICATED = ("unauthenticated", 401, "No valid API key", "Send `Authorization: Bearer KEY`; commands take KEY from RADII_API_KEY, else from the file api-key in RADII_DATA_DIR, which `radii up` writes. If that key was revoked: delete the file and start the service again.")
    LAST_KEY = ("last-key", 409, "This is the last valid API key", "Create another first: POST /v1/keys, or `radii keys create NAME`. Should all be lost: delete DATA_DIR/api-key and start the service again, which writes a new one there.")
    NOT_FOUND = ("not-found", 404, "Nothing here", "Check the id and the path.")
    METHOD_NOT_ALLOWED = ("method-not-allowed", 405, "This path does not answer that method", "See /docs for the calls there are.")
    UPLOAD_TOO_LARGE = ("upload-too-large", 413, "The upload is over the limit", "Send less, or raise RADII_MAX_UPLOAD_BYTES.")
    REQUEST_TOO_LARGE = ("request-too-large", 413, "The JSON body is over the limit", "Upload data as a file and name its id.")
    EMPTY_UPLOAD = ("empty-upload", 422, "The upload has no bytes", "Send the file as the raw request body (curl: --data-binary @FILE).")
    DIGEST_MISMATCH = ("digest-mismatch", 422, "The bytes do not match Content-Digest", "Send the file again.")
    UNSUPPORTED_MODEL_FORMAT = ("unsupported-model-format", 415, "This model format is not accepted", "Export the network to ONNX on your machine: torch.onnx.export(model.eval(), (example_input,), 'model.onnx', external_data=False). Pickle-based formats can run code when they are loaded.")
    UNSUPPORTED_MODEL = ("unsupported-model", 422, "The model can't be certified", "`obstacles` lists every offending node with its remedy.")
    UNSUPPORTED_DATASET_FORMAT = ("unsupported-dataset-format", 415, "This data format is not accepted", "Send a NumPy .npz with x and optionally y: numpy.savez('data.npz', x=x, y=y).")
    INVALID_DATASET = ("invalid-dataset", 422, "The data set can't be used", "x: numbers of shape (N, ...), finite; y: N integers >= 0.")
    NOT_READY = ("not-ready", 409, "What you ask for is not ready yet", "Poll the resource that `detail` names; `Retry-After` says when.")
    REJECTED = ("rejected", 409, "Intake rejected this resource", "Its own page says why; upload a corrected file.")
    SHAPE_MISMATCH = ("shape-mismatch", 422, "Inputs of the data set don't fit the model", "Bring x to (N, *input shape of the model). Where the same axes stand in another order, transpose it: a reshape would scramble every input.")
    RANGE_MISMATCH = ("range-mismatch", 422, "Values of the data set lie outside the model's input range", "Scale x to the values that the network was trained on (8-bit images for 0 to 1: x / 255). If those are the values that x has, register the model with a range that holds them, and mean and std for them.")
    LABELS_OUT_OF_RANGE = ("labels-out-of-range", 422, "Labels exceed the model's classes", "Labels are class indices 0 .. classes-1 (labels that count from 1: y - 1). Check that the data and the model belong together.")
    SUBSET_OUT_OF_RANGE = ("subset-out-of-range", 422, "The subset does not lie in the data set", "Choose 0 <= start < stop <= count and step >= 1.")
    SUBSET_TOO_LARGE = ("subset-too-large", 422, "Too many inputs for one certification", "Certify the data set in several subsets.")
    METHOD_NOT_APPLICABLE = ("method-not-applicable", 422, "This method does not apply to this model", "`reasons` names the nodes that stand against it; the model's page says which methods apply.")
    IMPRECISE_NETWORK = ("imprecise-network", 422, "The network is another one in this precision", "Leave `precision` out: float32 is the default. Other processors may run it rightly.")
    UNFIT_BATCH = ("unfit-batch", 422, "Some certifications of the batch can't be", "Nothing was started. `misfits` says which can't be, why, and what to do about each: correct them, or ask for the others as `items`.")
    STILL_NEEDED = ("still-needed", 409, "Other things need what is to be deleted", "Delete what `needed_by` lists first, or everything together with ?cascade=true, which ends what runs.")
    ALREADY_ENDED = ("already-ended", 409, "The certification has ended", "A terminal state never changes; start a new certification.")
    FAILED = ("failed", 409, "The certification has failed", "`cause` says why and what to do. Its results stay as evidence, and certify nothing.")
    INCOMPLETE = ("incomplete", 409, "Not all inputs have a result", "Wait until `state` is succeeded; of a cancelled certification start a new one. Without `radius` the curve of the results so far is there, with `complete` false.")
    WORKER_LOST = ("worker-lost", 500, "The process that did the work ended before it was done", "`detail` says how it ended, amid what, and how much memory it had; the log of the worker has the rest, under the id `log`.")
    STALLED = ("stalled", 500, "The process that did the work made no progress", "If it waited for a GPU, look at its health and its driver's log, or set RADII_DEVICE=cpu. Where honest steps take longer than that, raise RADII_STALL_SECONDS.")
    DATA_UNREADABLE = ("data-unreadable", 500, "The stored data is damaged", "Send the data set again (POST /v1/uploads, then /v1/datasets), then start a new certification. Look for what changed the file: a disk, a restored backup, a person.")
    MODEL_UNREADABLE = ("model-unreadable", 500, "The stored model is damaged", "Send the model again (POST /v1/uploads, then /v1/models), then start a new certification. Look for what changed the file: a disk, a restored backup, a person.")
    FILE_MISSING = ("file-missing", 410, "A stored file is gone", "Send the same file again (POST /v1/uploads), register it again (/v1/models or /v1/datasets), then start anew. Look for what removed it from the folder `blobs` of DATA_DIR.")
    NETWORK_FAILED = ("network-failed", 500, "The network failed while it was computed", "`detail` names the node. Leave `precision` out if it is set, or set RADII_DEVICE=cpu; if it fails nevertheless, report it with the model.")
    OUT_OF_MEMORY = ("out-of-memory", 500, "The worker ran out of memory", "Use a smaller batch size (RADII_BATCH_SIZE) or a larger worker.")
    INTAKE_LIMIT = ("intake-limit", 422, "Intake needed more time or memory than it may use", "Simplify the file, or raise RADII_INTAKE_SECONDS or RADII_INTAKE_MEMORY_BYTES.")
    COUNTS_MISMATCH = ("counts-mismatch", 500, "The counts of an input do not add up to n", "This is a bug in radii: no certificate was given. Please report it.")
    CONTRADICTED = ("contradicted", 500, "An attack broke more certificates than chance allows", "This is a bug in radii: do not rely on any radius of this certification. Please report it with the model and the adversarial inputs, which the results keep (`attack`).")
    BROKEN_NOISE = ("broken-noise", 500, "The noise source failed its self-test", "The worker's processor, driver or a library draws numbers of another law; nothing was certified by them. Look for what changed on that machine, or set RADII_DEVICE=cpu.")
    INTERNAL_ERROR = ("internal-error", 500, "Something failed inside radii", "This is a bug: the log of the service has the details.")
    STORAGE_FULL = ("storage-full", 507, "The service has no space left", "Free space where the service keeps its data, then send the request again. Jobs that run wait for space, and go on by themselves.")
    UNAVAILABLE = ("unavailable", 503, "A part of the service is not reachable", "Try again shortly; /readyz says which part.")
    # fmt: on

    def __init__(self, slug: str, status: int, title: str, remedy: str) -> None:
        self.slug = slug
        self.status = status
        self.title = title
        self.remedy = remedy

    def document(self, detail: str, **extensions: Any) -> dict[str, Any]:
        """The RFC 9457 document: ``detail`` names the cause of this case; ``remedy`` what to do about it, which a case
        may know better (``remedy=``)."""
        return {
            "type": f"/problems/{self.slug}",
            "title": self.title,
            "status": self.status,
            "detail": detail,
            "remedy": self.remedy,
            **extensions,
        }

"""The Python client of the service.

>>> from radii.client import Client
>>> client = Client()  # RADII_URL and RADII_API_KEY, else this machine's `radii up`
>>> model = client.wait(client.create_model("digits.onnx", shape=[1, 8, 8]))  # doctest: +SKIP
>>> data = client.wait(client.create_dataset("digits.npz"))  # doctest: +SKIP
>>> job = client.create_certification(model["id"], data["id"], {"kind": "smoothing", "sigma": 0.25})  # doctest: +SKIP
>>> client.wait(job)["summary"]  # doctest: +SKIP
"""

from radii.client.client import Client
from radii.client.errors import Cancelled, ClientError, ProblemError, Unreachable
from radii.client.waiting import command, following

__all__ = ["Cancelled", "Client", "ClientError", "ProblemError", "Unreachable", "command", "following"]

"""Figures for Prometheus. They are of the whole installation, and name no tenant's rows."""

from ipaddress import ip_address

from fastapi import APIRouter, Depends, Request, Response
from prometheus_client import CollectorRegistry
from prometheus_client.exposition import choose_encoder

from app.auth import Credentials, authenticated
from app.service import InService

router = APIRouter(tags=["service"])

FORWARDED = ("forwarded", "x-forwarded-for", "x-real-ip", "via")  # a proxy says for whom it asks


def _may_look(request: Request, service: InService, credentials: Credentials) -> None:
    """Refuse who is on another machine, or behind a proxy, and has no key (unless RADII_METRICS_OPEN)."""
    if service.settings.metrics_open or (_local(request) and credentials is None):
        return
    authenticated(request, service, credentials)


def _local(request: Request) -> bool:
    if request.client is None or any(name in request.headers for name in FORWARDED):
        return False
    try:
        return ip_address(request.client.host).is_loopback
    except ValueError:
        return False


@router.get(
    "/metrics",
    summary="Figures for Prometheus",
    dependencies=[Depends(_may_look)],
    response_class=Response,
    responses={200: {"content": {"text/plain": {}}, "description": "The exposition format of Prometheus."}},
)
def metrics(request: Request) -> Response:
    """Without a key from this machine alone, else with any valid one. Jobs and workers are some seconds old."""
    encode, kind = choose_encoder(request.headers.get("accept", ""))
    registry: CollectorRegistry = request.app.state.figures
    return Response(encode(registry), media_type=None, headers={"Content-Type": kind})

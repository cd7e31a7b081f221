"""Figures for Prometheus. They are of the whole installation, and name no tenant's rows."""

import re
from ipaddress import ip_address

from fastapi import APIRouter, Depends, Request, Response
from prometheus_client import CollectorRegistry
from prometheus_client.exposition import choose_encoder

from app.auth import Credentials, authenticated
from app.service import InService

router = APIRouter(tags=["service"])

FORWARDED = ("forwarded", "x-real-ip", "via", "cf-connecting-ip")  # a proxy says for whom it asks
LOCAL_NAMES = ("localhost", "127.0.0.1", "[::1]")  # that a request from this machine calls it by


async def _may_look(request: Request, service: InService, credentials: Credentials) -> None:
    """Refuse who is on another machine, or behind a proxy, and has no key (unless RADII_METRICS_OPEN)."""
    if service.settings.metrics_open or (_local(request) and credentials is None):
        return
    await authenticated(request, service, credentials)


def _local(request: Request) -> bool:
    if request.client is None or any(name in FORWARDED or name.startswith("x-forwarded-") for name in request.headers):
        return False
    if re.sub(r":\d+$", "", request.headers.get("host", "")).lower() not in LOCAL_NAMES:
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

# Targets: api (no torch), worker (CPU), worker-gpu (CUDA).
#   docker build --target api -t radii-api .
FROM python:3.11-slim AS base
ENV PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1 PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1 \
    OMP_NUM_THREADS=1 ORT_DISABLE_TELEMETRY=1 PYTHONPATH=/srv/radii RADII_DATA_DIR=/var/lib/radii
RUN useradd --system --uid 10001 --home-dir /var/lib/radii --no-create-home radii \
    && install --directory --mode 700 --owner radii --group radii /var/lib/radii
WORKDIR /srv/radii

FROM base AS api
COPY requirements-api.lock ./
RUN pip install --require-hashes --no-deps -r requirements-api.lock
COPY pyproject.toml ./
COPY migrations migrations
COPY models models
COPY radii radii
COPY app app
USER radii
VOLUME /var/lib/radii
EXPOSE 8000
CMD ["sh", "-c", "python -m models.bootstrap && exec python -m uvicorn app.main:create_app --factory --host 0.0.0.0 --port 8000 --no-access-log --timeout-graceful-shutdown 2"]

FROM base AS worker-base
COPY requirements-worker.lock ./
RUN pip install --require-hashes --no-deps -r requirements-worker.lock

FROM worker-base AS worker-files
COPY pyproject.toml ./
COPY models models
COPY radii radii
COPY workers workers

# On an index that offers it, the +cpu build saves gigabytes: --build-arg TORCH_SPEC=torch==2.13.0+cpu with PIP_EXTRA_INDEX_URL.
FROM worker-base AS worker
ARG TORCH_SPEC=torch==2.13.0
ARG PIP_EXTRA_INDEX_URL
RUN pip install "$TORCH_SPEC"
COPY --from=worker-files /srv/radii /srv/radii
USER radii
VOLUME /var/lib/radii
CMD ["python", "-m", "celery", "--quiet", "-A", "workers.main", "worker", "--queues", "certify", "--concurrency", "1", "--without-gossip", "--without-mingle"]

# Triton, which comes with torch for CUDA, makes the kernels that draw noise when they are first used: that takes a C
# compiler with the C library's headers.
FROM worker AS worker-gpu
USER root
RUN apt-get update && apt-get install --yes --no-install-recommends gcc libc6-dev && rm -rf /var/lib/apt/lists/*
USER radii
ENV RADII_DEVICE=cuda

# One image for every role; the command says which: `visionq worker`, `visionq flower`, …
ARG BASE_IMAGE=python:3.13-slim

# What visionq stands on: made again when the lock changes, and by no change of code.
FROM ${BASE_IMAGE} AS dependencies
# Another package index: docker build --build-arg PIP_INDEX_URL=…
ARG PIP_INDEX_URL
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1
WORKDIR /build
RUN python -m venv /opt/visionq
COPY requirements-run.lock ./
RUN /opt/visionq/bin/pip install --no-deps --require-hashes --only-binary :all: \
        -r requirements-run.lock \
    && /opt/visionq/bin/pip check

FROM dependencies AS wheel
COPY pyproject.toml README.md LICENSE ./
COPY visionq visionq
COPY producer producer
COPY worker worker
COPY monitoring monitoring
RUN /opt/visionq/bin/python -m hatchling build -t wheel

FROM ${BASE_IMAGE}
ENV PATH=/opt/visionq/bin:$PATH PYTHONDONTWRITEBYTECODE=1 PYTHONUNBUFFERED=1 HOME=/tmp
RUN useradd --system --uid 10001 --no-create-home visionq \
    && install --directory --owner=visionq /data
COPY --from=dependencies /opt/visionq /opt/visionq
COPY --from=wheel /build/dist /opt/visionq/dist
RUN /opt/visionq/bin/pip install --no-deps --no-index /opt/visionq/dist/visionq-*.whl
USER 10001
STOPSIGNAL SIGTERM
CMD ["visionq", "worker"]

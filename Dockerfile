# One image for every role; the command says which: `visionq worker`, `visionq flower`, …
ARG BASE_IMAGE=python:3.13-slim

FROM ${BASE_IMAGE} AS build
# Another package index: docker build --build-arg PIP_INDEX_URL=…
ARG PIP_INDEX_URL
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1
WORKDIR /app
RUN python -m venv /opt/visionq
COPY requirements-run.lock ./
RUN /opt/visionq/bin/pip install --require-hashes -r requirements-run.lock
COPY . ./
RUN /opt/visionq/bin/pip install --no-deps --no-build-isolation --no-index --editable . \
    && /opt/visionq/bin/python -m compileall -q .

FROM ${BASE_IMAGE}
ENV PATH=/opt/visionq/bin:$PATH PYTHONDONTWRITEBYTECODE=1 PYTHONUNBUFFERED=1 HOME=/tmp
RUN useradd --system --uid 10001 --no-create-home visionq \
    && install --directory --owner=visionq /data
COPY --from=build /opt/visionq /opt/visionq
COPY --from=build /app /app
WORKDIR /app
USER 10001
STOPSIGNAL SIGTERM
CMD ["visionq", "worker"]

# syntax=docker/dockerfile:1
# One image for all processes of Bilevel; docker-compose.yml says which one a container runs.

FROM python:3.12-slim AS build
ARG PIP_EXTRA_INDEX_URL
ENV PIP_DISABLE_PIP_VERSION_CHECK=1
RUN python -m venv /opt/bilevel
ENV PATH=/opt/bilevel/bin:$PATH
WORKDIR /src
COPY requirements.lock ./
# The large ones have a layer of their own, which outlives changes of our code.
RUN --mount=type=cache,target=/root/.cache/pip \
    pip install --constraint requirements.lock hatchling torch scipy scikit-learn
COPY pyproject.toml README.md LICENSE ./
COPY api ./api
COPY bilevel_client ./bilevel_client
COPY core ./core
COPY local ./local
COPY migrations ./migrations
COPY worker ./worker
RUN --mount=type=cache,target=/root/.cache/pip \
    pip install --constraint requirements.lock --no-build-isolation ".[plot]"

FROM python:3.12-slim
# On a GPU Triton builds what launches its kernels with a C compiler.
RUN apt-get update \
    && apt-get install --yes --no-install-recommends gcc libc6-dev \
    && rm -rf /var/lib/apt/lists/*
RUN useradd --uid 10001 --create-home bilevel \
    && install --directory --owner bilevel --group bilevel /var/lib/bilevel/storage /var/lib/bilevel/data
COPY --from=build /opt/bilevel /opt/bilevel
ENV PATH=/opt/bilevel/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    BILEVEL_STORAGE_DIR=/var/lib/bilevel/storage \
    BILEVEL_DATA_DIR=/var/lib/bilevel/data
USER bilevel
WORKDIR /var/lib/bilevel
EXPOSE 8000
CMD ["python", "-m", "api", "--host", "0.0.0.0", "--port", "8000"]

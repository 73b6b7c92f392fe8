FROM python:3.13-slim AS build
WORKDIR /build

# uv, as locked.
COPY requirements.lock ./
COPY scripts scripts
RUN python scripts/prepare.py lock

# The wheel with the page in it. What builds it, Node.js included, is locked too.
COPY . .
RUN .uv/bin/uv build --wheel --build-constraints requirements.lock --require-hashes --out-dir dist

# What it needs, in the locked versions and with their hashes checked.
RUN .uv/bin/uv venv /app \
 && .uv/bin/uv pip install --no-cache --compile-bytecode --python /app --constraints requirements.lock \
      "pulseboard[server] @ file://$(echo /build/dist/*.whl)"


FROM python:3.13-slim
RUN useradd --system --uid 10001 --no-create-home --shell /usr/sbin/nologin pulseboard
COPY --from=build /app /app
ENV PATH=/app/bin:$PATH \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1
USER pulseboard
EXPOSE 8765
STOPSIGNAL SIGTERM
ENTRYPOINT ["pulseboard", "serve"]

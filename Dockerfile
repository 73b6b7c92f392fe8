FROM python:3.13-slim AS build
WORKDIR /build

# The locked version of uv.
COPY requirements.lock ./
COPY scripts scripts
RUN python scripts/prepare.py lock

# The wheel contains the built page. Its build tools, Node.js included, are locked too.
COPY . .
RUN .uv/bin/uv build --wheel --build-constraints requirements.lock --require-hashes --out-dir dist

# The dependencies, in the locked versions, with verified hashes.
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

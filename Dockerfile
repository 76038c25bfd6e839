# `mftn serve` in a container of its own: docker build -t mftn . && docker run --rm -p 127.0.0.1:8000:8000 mftn
FROM python:3.13-slim AS build
WORKDIR /src
COPY pyproject.toml README.md LICENSE THIRD_PARTY.md ./
COPY src src
RUN python -m venv /opt/mftn && /opt/mftn/bin/pip install --no-cache-dir '.[serve,video]'

FROM python:3.13-slim
COPY --from=build /opt/mftn /opt/mftn
RUN useradd --system --uid 10001 --no-create-home mftn
USER 10001
ENV PATH=/opt/mftn/bin:$PATH PYTHONDONTWRITEBYTECODE=1
EXPOSE 8000
HEALTHCHECK --interval=30s --timeout=5s --start-period=20s --retries=3 \
    CMD ["python", "-c", "import urllib.request; urllib.request.urlopen('http://127.0.0.1:8000/readyz', timeout=4)"]
STOPSIGNAL SIGTERM
ENTRYPOINT ["mftn", "serve", "--host", "0.0.0.0"]

# syntax=docker/dockerfile:1
# The gateway alone; Redis and Postgres are yours (compose.yaml has an example).

FROM python:3.12-slim AS build
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1
WORKDIR /src
RUN python -m venv /opt/tollgate
# The dependencies first: they change less often than the code, and their layer is kept.
COPY requirements/serve.txt requirements/
RUN /opt/tollgate/bin/pip install --require-hashes --no-deps -r requirements/serve.txt
COPY pyproject.toml README.md LICENSE ./
COPY pricing pricing
COPY migrations migrations
COPY gateway gateway
RUN /opt/tollgate/bin/pip install --no-deps --no-build-isolation . \
    && /opt/tollgate/bin/pip uninstall --yes setuptools pip

FROM python:3.12-slim
RUN useradd --system --uid 10001 --no-create-home --shell /usr/sbin/nologin tollgate
COPY --from=build /opt/tollgate /opt/tollgate
COPY config /etc/tollgate
# In a container, loopback would be reachable by nobody.
ENV PATH=/opt/tollgate/bin:$PATH PYTHONDONTWRITEBYTECODE=1 PYTHONUNBUFFERED=1 TOLLGATE_SERVER__HOST=0.0.0.0
USER 10001
EXPOSE 8787
# Alive, not ready: a gateway that waits for its Redis must not be restarted for it.
HEALTHCHECK --interval=10s --timeout=3s --start-period=20s \
    CMD ["python", "-c", "import os, urllib.request as u; u.urlopen('http://127.0.0.1:' + os.environ.get('TOLLGATE_SERVER__PORT', '8787') + '/health/live', timeout=2)"]
STOPSIGNAL SIGTERM
ENTRYPOINT ["tollgate"]
CMD ["serve", "--config", "/etc/tollgate/tollgate.yaml"]

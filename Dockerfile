# The service as an image. docs/run/kubernetes.md tells how to build it and how to pin the base:
#   docker build --build-arg PYTHON_DIGEST=sha256:… --tag oo-serving .
#   docker build --build-arg PYTHON_DIGEST=sha256:… --target tools --tag oo-serving:tools .
# The second has the extras too, DuckDB and the plots: for `log compact`, `judge --sums` and `evaluate --html`.
# buildah and podman need --format docker, or they drop HEALTHCHECK.
# Another PYTHON_IMAGE must have a Python under /usr/local, as the official ones do, that pip may install into. Debian's own
# python3 refuses that (PEP 668: externally managed).
ARG PYTHON_IMAGE=docker.io/library/python:3.13-slim-trixie
ARG PYTHON_DIGEST=

FROM ${PYTHON_IMAGE}${PYTHON_DIGEST:+@${PYTHON_DIGEST}} AS build
WORKDIR /src
# The time that the archives in a wheel give their files, so that two builds make the same: 1980, the first that they know.
ENV SOURCE_DATE_EPOCH=315532800
# The new environment has no pip of its own: what installs it stays behind in this stage.
RUN python -m venv --without-pip /opt/oo
# What builds packages is pinned too, and --no-build-isolation has it used instead of whatever is the newest.
COPY requirements-build.lock ./
RUN python -m pip install --no-cache-dir --no-deps --require-hashes --only-binary :all: --root-user-action=ignore \
    --requirement requirements-build.lock
# Dependencies first, for they change more rarely than the code. Nothing is compiled: nkeys alone comes as source, of
# pure Python.
COPY requirements.lock ./
RUN python -m pip wheel --no-cache-dir --no-deps --require-hashes --no-build-isolation --only-binary :all: \
    --no-binary nkeys --wheel-dir /wheels --requirement requirements.lock \
    && python -m pip --python /opt/oo/bin/python install --no-cache-dir --no-compile --no-deps --no-index /wheels/*.whl
COPY pyproject.toml README.md ./
COPY app app
COPY state state
RUN python -m pip wheel --no-cache-dir --no-deps --no-build-isolation --no-index --wheel-dir /wheels/own . \
    && python -m pip --python /opt/oo/bin/python install --no-cache-dir --no-compile --no-deps --no-index /wheels/own/*.whl
# Bytecode that names no time: two builds give the same, and a tool that sets the times of files does not make every start
# compile again. The order of sets in it follows from the seed.
RUN PYTHONHASHSEED=0 /opt/oo/bin/python -m compileall -q --invalidation-mode unchecked-hash /opt/oo/lib

FROM build AS build-tools
COPY requirements-tools.lock ./
RUN python -m pip --python /opt/oo/bin/python install --no-cache-dir --no-compile --no-deps --require-hashes \
    --only-binary :all: --requirement requirements-tools.lock \
    && PYTHONHASHSEED=0 /opt/oo/bin/python -m compileall -q --invalidation-mode unchecked-hash /opt/oo/lib

# What both images have in common: all but what is installed.
FROM ${PYTHON_IMAGE}${PYTHON_DIGEST:+@${PYTHON_DIGEST}} AS bare
ARG VERSION=0.1.0
ARG REVISION=unknown
LABEL org.opencontainers.image.title="oo-serving" \
      org.opencontainers.image.description="Contextual bandits as a service: stateless replicas over state shared in Redis" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}"
# Nothing is installed into a running container, so nothing that could install is left in it.
RUN python -m pip uninstall --yes --root-user-action=ignore setuptools wheel pip \
    && rm -r "$(dirname "$(python -c 'import ensurepip; print(ensurepip.__file__)')")"
# PYTHONSAFEPATH: only what was installed is imported, never what lies in the working directory.
# OPENBLAS_NUM_THREADS: the matrices are 12 by 12 at most; threads for them only cost memory.
ENV PATH=/opt/oo/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONSAFEPATH=1 \
    OPENBLAS_NUM_THREADS=1 \
    HOST=:: \
    PORT=8000
WORKDIR /opt/oo
USER 65532:65532
EXPOSE 8000
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=10s --timeout=5s --start-period=30s --retries=3 \
    CMD ["python", "-c", "import http.client as h, os; n = os.environ['HOST']; c = h.HTTPConnection({'::': 'localhost', '0.0.0.0': '127.0.0.1'}.get(n, n), int(os.environ['PORT']), timeout=4); c.request('GET', '/health/live'); raise SystemExit(c.getresponse().status != 200)"]
CMD ["python", "-m", "app"]

# What is copied is owned by root and written by nobody: the root file system can be read-only.
FROM bare AS tools
COPY --from=build-tools /opt/oo /opt/oo

# The last stage is what is built unless another is asked for.
FROM bare AS serving
COPY --from=build /opt/oo /opt/oo

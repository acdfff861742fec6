# The base cannot be pinned by a digest that is known to be right for everybody: whoever builds for production appends
# the one they have checked, in both lines: python:3.13-slim-trixie@sha256:...
FROM python:3.13-slim-trixie AS build
WORKDIR /src
COPY requirements requirements/
# The build backend stays in /build; what runs has neither it nor pip.
RUN python -m venv /build \
 && /build/bin/pip install --no-cache-dir --require-hashes -r requirements/build.txt \
 && python -m venv --without-pip /opt/hpc-exporter \
 && /build/bin/pip --python /opt/hpc-exporter/bin/python install --no-cache-dir --require-hashes -r requirements/runtime.txt
COPY pyproject.toml hatch_build.py README.md LICENSE ./
COPY config config/
COPY grafana/provisioned grafana/provisioned/
COPY exporter exporter/
# The commit, which the build cannot see: --build-arg REVISION="$(git rev-parse HEAD)", or make image.
ARG REVISION=
RUN HPC_EXPORTER_REVISION="$REVISION" /build/bin/pip wheel --no-deps --no-index --no-build-isolation --wheel-dir /dist . \
 && /build/bin/pip --python /opt/hpc-exporter/bin/python install --no-deps --no-index /dist/*.whl

FROM python:3.13-slim-trixie
ARG VERSION=0.1.0.dev0
ARG REVISION=unknown
LABEL org.opencontainers.image.title="hpc-exporter" \
      org.opencontainers.image.description="Prometheus exporter for SCNet supercomputing regions and Huawei Cloud Octopus" \
      org.opencontainers.image.source="https://github.com/hpc-exporter/hpc-exporter" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="$VERSION" \
      org.opencontainers.image.revision="$REVISION"
COPY --from=build /opt/hpc-exporter /opt/hpc-exporter
ENV PATH=/opt/hpc-exporter/bin:$PATH
RUN groupadd --gid 9851 hpc-exporter \
 && useradd --uid 9851 --gid 9851 --home-dir /var/lib/hpc-exporter --no-create-home --shell /usr/sbin/nologin hpc-exporter \
 && install --directory --owner=9851 --group=9851 --mode=0755 /var/lib/hpc-exporter
USER 9851:9851
# All that is ever written: tracking.state_file belongs here, and nobody else may read that. The rest may be read-only.
VOLUME /var/lib/hpc-exporter
WORKDIR /var/lib/hpc-exporter
EXPOSE 9851
# Finds a changed port, and TLS, in the exporter's own flags.
HEALTHCHECK --interval=30s --timeout=5s --start-period=30s CMD ["/opt/hpc-exporter/bin/python", "-m", "exporter.healthcheck"]
STOPSIGNAL SIGTERM
ENTRYPOINT ["/opt/hpc-exporter/bin/hpc-exporter"]
CMD ["serve", "--config.file=/etc/hpc-exporter/exporter.yml"]

FROM python:3.13-slim AS build
WORKDIR /src
COPY requirements/runtime.txt requirements/
RUN python -m venv /opt/hpc-exporter \
 && /opt/hpc-exporter/bin/pip install --no-cache-dir --require-hashes -r requirements/runtime.txt
COPY pyproject.toml README.md LICENSE ./
COPY exporter exporter
RUN /opt/hpc-exporter/bin/pip install --no-cache-dir --no-deps .

FROM python:3.13-slim
COPY --from=build /opt/hpc-exporter /opt/hpc-exporter
RUN useradd --system --uid 9851 --create-home hpc-exporter
USER 9851
WORKDIR /home/hpc-exporter
EXPOSE 9851
ENTRYPOINT ["/opt/hpc-exporter/bin/hpc-exporter"]
CMD ["serve", "--config.file=/etc/hpc-exporter/exporter.yml"]

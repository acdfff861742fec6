"""hpc-exporter: Prometheus metrics of SCNet regions and Huawei Cloud Octopus."""

__version__ = "0.1.0.dev0"

"""`python -m exporter` is `hpc-exporter`."""

from exporter.cli.main import entry_point

if __name__ == "__main__":
    entry_point()

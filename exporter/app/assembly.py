"""A configuration made ready to be used once, by a command: the parts of an `Application` without its schedule."""

import asyncio
import ssl
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from exporter.app.application import build_accounts, build_regions, job_budget, load_with_tls, warnings_of
from exporter.clock import SystemClock
from exporter.config import Cluster, Config, OctopusProject, Tls
from exporter.metrics.family import Family
from exporter.metrics.render import Chunks
from exporter.metrics.snapshot import Exposition
from exporter.sources.octopus.project import Project, build_projects
from exporter.sources.scnet.region import Region
from exporter.sources.scnet.region_tokens import AccountAtWork
from exporter.sources.source import Context, Source

Polled = TypeVar("Polled", Cluster, OctopusProject)


class GaugesOnly(Exposition):
    """What can be said of one moment: a counter that begins anew with every run of a command says nothing."""

    def put(self, owner: object, chunks: Chunks) -> None:
        """Take what is a gauge."""
        super().put(owner, {family: lines for family, lines in chunks.items() if is_gauge(family)})


def is_gauge(family: Family) -> bool:
    return family.type == "gauge"


@dataclass(frozen=True, slots=True)
class Assembly:
    """All that a configuration names. Nothing was asked yet; `contexts` are TLS contexts by their settings."""

    config: Config
    contexts: Mapping[Tls, ssl.SSLContext]
    services: Context
    accounts: Mapping[str, AccountAtWork]
    regions: Mapping[str, Region]
    projects: Mapping[str, Project]

    @property
    def sources(self) -> dict[str, Source]:
        """Regions and projects by name, in the order of the configuration."""
        return {**self.regions, **self.projects}

    @property
    def warnings(self) -> list[str]:
        """What is allowed in the configuration but may surprise."""
        return warnings_of(self.config, self.sources)

    async def close(self) -> None:
        """Close the connections."""
        await asyncio.gather(*(source.close() for source in self.sources.values()))


def assemble(path: Path, *, retries: int | None = None) -> Assembly:
    """Do all that a start does with a configuration but poll and track. Blocks. Raises ConfigurationError.

    `retries` replaces those of the configuration, for whoever wants each target to be tried so often and no more.
    """
    config, contexts = load_with_tls(path)
    if retries is not None:
        config = with_retries(config, retries)
    # Without a tracker: it belongs to the service, and a single poll tells it nothing.
    services = Context(SystemClock(), GaugesOnly())
    services.display.per_job = job_budget(config)
    accounts = build_accounts(config, contexts, services, running={})
    slots = asyncio.Semaphore(config.poll.max_concurrency)
    regions = build_regions(config, accounts, contexts, services, slots, running={})
    projects = build_projects(config, contexts, services, slots, running={}, before={})
    return Assembly(config, contexts, services, accounts, regions, projects)


def with_retries(config: Config, retries: int) -> Config:
    """The configuration with other `retries` everywhere."""

    def changed(polled: Polled) -> Polled:
        return polled.model_copy(update={"poll": polled.poll.model_copy(update={"retries": retries})})

    return config.model_copy(
        update={"clusters": tuple(map(changed, config.clusters)), "octopus": tuple(map(changed, config.octopus))}
    )


def validate(path: Path) -> list[str]:
    """Check a configuration as a start does, but for opening the state file; the warnings. Raises ConfigurationError."""
    assembly = assemble(path)
    return [*assembly.warnings, *state_file_warnings(path, assembly.config)]


def state_file_warnings(path: Path, config: Config) -> list[str]:
    """What would keep the tracker from its file on this machine, which need not be the one that serves."""
    file = config.tracking.state_file if config.tracking.enabled else None
    if file is None or file.parent.is_dir():
        return []
    return [f"{path}: tracking.state_file: there is no folder {file.parent}: serve does not start without it"]

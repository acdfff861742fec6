"""Virtual time for the tests of sources: their upstreams are in the same process."""

from tests.support.clock import virtual_loops

pytest_asyncio_loop_factories = virtual_loops

"""Virtual time for the tests of the application."""

from tests.support.clock import virtual_loops

pytest_asyncio_loop_factories = virtual_loops

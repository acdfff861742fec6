"""The HTTP server of `serve`. Knows the application by `ExporterApi` only."""

"""What `serve` answers over HTTP. Knows the application by `ExporterApi` only."""

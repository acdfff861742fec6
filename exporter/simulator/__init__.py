"""A SCNet region on loopback, driven by a small batch system, with faults to order. It knows nothing of the exporter."""

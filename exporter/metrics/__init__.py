"""Metric families, rendering of samples, and the exposition from which scrapes are answered."""

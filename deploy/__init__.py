"""Packaging for machines and clusters; `python -m deploy` writes what is made from something else."""

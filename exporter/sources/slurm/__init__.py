"""Clusters of one's own: Slurm, by its REST daemon slurmrestd."""

"""How hpc-exporter gets onto machines and clusters; `python -m deploy` writes what is made from something else."""

"""Where shards are made on the machine that is typed on, or on a Dask cluster; SLURM has a package of its own."""

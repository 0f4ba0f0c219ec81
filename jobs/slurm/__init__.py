"""Running on a SLURM cluster: jobs submitted by submitit, and what they and the people who wait ask of SLURM."""

"""Schedulers, which lend machines for a time: what is needed of one, and Slurm. Pure."""

"""Schedulers, which lend machines for a time: what a link needs of one (`base`), and Slurm. Pure."""

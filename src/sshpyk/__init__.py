"""Jupyter kernels on other machines over SSH, as if they were local."""

__version__ = "2.0.0"

"""Notebooks, as JSON of nbformat 4: their files, parameters, and outputs.

All but `files` is pure. Nothing here needs nbformat, which many who use kernels do not have.
"""

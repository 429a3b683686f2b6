"""The version, for those of our own modules that `import sshpyk` leads to."""

__version__ = "2.0.0"

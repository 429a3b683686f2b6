"""Only the owner gets in, and bad input breaks nothing. docs/security.rst lists what is shown."""

"""A remote kernel of a Jupyter Server, reached by its URL: REST and a websocket.

Also one of a Kernel Gateway, or of a user's server behind a JupyterHub: they speak the same.
"""

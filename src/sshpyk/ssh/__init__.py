"""The OpenSSH client: its configuration, one way to run it, its master, and its complaints."""

"""How a host is reached, and how a program of ours runs there."""

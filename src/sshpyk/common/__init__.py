"""What both ends use and neither owns: questions to the system, for the client as for the agent.

These files travel to the host with the agent, so they run on Python 3.8 and import little. What
needs no system at all is in `sshpyk.wire`.
"""

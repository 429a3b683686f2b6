"""The client's side of a link: everything between one provisioner and one agent.

An asyncio shell over `sshpyk.wire`, on one I/O thread for the whole process.
"""

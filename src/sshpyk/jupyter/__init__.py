"""Jupyter's side: provisioner, settings, kernelspecs, persistence files, local sockets."""

"""What happens when kernels are started: each way in which it can fail, and the odd hosts."""

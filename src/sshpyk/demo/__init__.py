"""`sshpyk demo`: a kernel on another machine, and everything that could go wrong with it.

`show` is the demo as a whole: `acts`, told by a `narrator`, at a `place`, which is a host of the
user's or the throwaway server of `sandbox`.
"""

"""On PYTHONPATH this is found in place of a package that Jupyter Server's schemas may do without.

jsonschema imports it in each process to look at IRIs, of which no schema of Jupyter's has one; to
import it compiles a grammar, which takes 1.2 seconds of a processor.
"""

raise ImportError("it is left out of the tests, for it takes a second")

"""The skips that may pass in CI: what their reasons match, and why they can't run there.

Any other skip fails there (`tests.trust`). What can be installed is installed by `.ci/run`, and
has no place in this list.
"""

from __future__ import annotations

#: A regular expression that the whole reason of a skip matches, and why CI can do without the test.
ALLOWED = {
    r"there is no \S+/2\.7\.18/\S+ here; fakes of such Pythons are tried always": (
        "not every CI has Pythons this old; fakes say what they would say"
    ),
    r"there is no \S+/3\.[67]\.\d+/\S+ here; fakes of such Pythons are tried always": (
        "not every CI has Pythons this old; fakes say what they would say"
    ),
    r"there is no \S+/3\.8\.18/\S+ here; tests of wire and agent hold its code to 3\.8": (
        "not every CI has Python 3.8; vermin reads all code that travels"
    ),
    r"atheris is not installed here \(it is for some Pythons on Linux only\)": (
        "it has no wheels for other Pythons; the same targets run with hypothesis always"
    ),
    r"this user may not make mount namespaces": (
        "containers without CAP_SYS_ADMIN; the errors of a full disk are also raised by a fake"
    ),
    r"this user may not make cgroups": (
        "users who are not root; fixtures of both versions say what Linux would say"
    ),
    r"a mount of the test's own takes root": "the same, by users who are not root",
    r"no tmpfs here: .*": "the same",
    r"SSHPYK_ENTERPRISE_GATEWAY names no Enterprise Gateway": (
        "it pins old versions of what we test with, and takes minutes to install beside them"
    ),
    r"SSHPYK_NOTEBOOK7 names no Python that has Notebook 7": (
        "it has an environment of its own, and runs there, after the other tests (.ci/run)"
    ),
    r"SSHPYK_DASHBOARDS names no Python with Dask and TensorBoard": (
        "they take a minute to install; the same is tried with other servers and a websocket"
    ),
    r"History range not supported": "a subtest of jupyter_kernel_test's",
    r"vermin is not installed here": "where only pytest and hypothesis are installed",
    r"pyzmq is not installed here": "where only pytest and hypothesis are installed",
}

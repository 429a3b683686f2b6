"""URLs as people paste them."""

from __future__ import annotations

import pytest

from sshpyk.errors import SettingsError
from sshpyk.server.address import ServerAddress, is_url, split


@pytest.mark.parametrize(
    ("pasted", "url", "token"),
    [
        ("http://localhost:8888/?token=abc", "http://localhost:8888/", "abc"),
        ("http://localhost:8888/lab?token=abc", "http://localhost:8888/", "abc"),
        ("https://h.org/user/me/lab/tree/a%20b.ipynb#x", "https://h.org/user/me/", ""),
        ("HTTPS://H.org/user/me", "https://h.org/user/me/", ""),
        ("https://h.org", "https://h.org/", ""),
        ("https://h.org/user/me/named/tree?", "https://h.org/user/me/named/", ""),
        ("http://[::1]:8888/notebooks/x.ipynb", "http://[::1]:8888/", ""),
        ("http://h/a/api/kernels?x=1&token=t%2Bt", "http://h/a/", "t+t"),
        (" https://h.org/laboratory/ \n", "https://h.org/laboratory/", ""),
        ("https://h.org/hub/home", "https://h.org/", ""),
        ("binder:gh/me/lab/main", "https://mybinder.org/build/gh/me/lab/main/", ""),
        (
            "https://b.org/v2/gh/me/tree/a%2Fb?urlpath=x",
            "https://b.org/build/gh/me/tree/a%2Fb/",
            "",
        ),
    ],
)
def test_pasted(pasted: str, url: str, token: str) -> None:
    assert is_url(pasted.strip())
    assert split(pasted) == (url, token)
    assert split(url) == (url, ""), "what is written is read the same"
    ServerAddress(url).check()


@pytest.mark.parametrize(
    "pasted",
    [
        "ftp://h.org/",
        "https://",
        "https:///lab",
        "https://h.org:99999/",
        "https://me:s3cret@h.org/",
        "https://h .org/?token=s3cret",
        "https://h.org/\nx?token=s3cret",
    ],
)
def test_no_server(pasted: str) -> None:
    with pytest.raises(SettingsError) as refused:
        split(pasted)
    assert "s3cret" not in str(refused.value)


def test_an_address_with_a_secret_is_none() -> None:
    with pytest.raises(SettingsError) as refused:
        ServerAddress("https://h.org/?token=s3cret").check()
    assert "s3cret" not in str(refused.value)


def test_endpoints_quote_what_a_server_chose() -> None:
    address = ServerAddress("https://h.org/user/me/")
    assert address.endpoint("api", "kernels", "../x?y") == (
        "https://h.org/user/me/api/kernels/..%2Fx%3Fy"
    )
    assert address.endpoint("a", query="b=c", is_websocket=True) == "wss://h.org/user/me/a?b=c"
    assert address.host == "h.org/user/me"

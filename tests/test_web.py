"""SEC-3: the public web is reached by checked addresses only, and what comes back is whole."""

from __future__ import annotations

import hashlib
import ssl
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.datasets.web_peers import PUBLIC, Names, Site, Wire, gives, served

from causal_orchestrator import web
from causal_orchestrator.errors import CausalError, InputError, StorageError

DATA = b"t,y\n" + b"0,1\n1,2\n" * 5000
OTHER = "files.example.net"


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    made = Site({"/data.csv": gives(DATA, ETag='"v1"')}, hosts=("data.example.org", OTHER))
    with served(made, tmp_path) as found:
        yield found


def fetch(site: Site, path: str = "/data.csv", folder: Path | None = None, **options: Any) -> web.Download | None:
    found = options.pop("web", site.web())
    target = (folder or Path(options.pop("to"))) / "out"
    return web.download(
        f"https://data.example.org{path}", target, **{"most": 10**6, "seconds": 10, "web": found, **options}
    )


def refusal(site: Site, folder: Path, path: str = "/data.csv", **options: Any) -> CausalError:
    with pytest.raises(CausalError) as caught:
        fetch(site, path, folder, **options)
    assert not (folder / "out").exists()
    return caught.value


def test_a_file_comes_whole_over_tls_from_the_address_that_was_checked(site: Site, tmp_path: Path) -> None:
    way = site.web("2606:2800:21f:cb07:6820:80da:af6b:8b2c", PUBLIC)
    found = fetch(site, folder=tmp_path, web=way)
    assert found is not None
    assert found.path.read_bytes() == DATA
    assert (found.sha256, found.size, found.etag) == (hashlib.sha256(DATA).hexdigest(), len(DATA), '"v1"')
    assert way.dial.dialled == ["2606:2800:21f:cb07:6820:80da:af6b:8b2c"]  # type: ignore[attr-defined]
    assert site.heard[0][1]["host"] == "data.example.org"


def test_the_next_address_is_tried_when_one_does_not_answer(site: Site, tmp_path: Path) -> None:
    class Half(Wire):
        def __call__(self, address: str, seconds: float) -> Any:
            self.port = None if not self.dialled else site.port
            return super().__call__(address, seconds)

    assert fetch(site, folder=tmp_path, web=site.web("1.1.1.1", PUBLIC, dial=Half())) is not None


def test_a_host_without_the_certificate_of_its_name_is_not_heard(site: Site, tmp_path: Path) -> None:
    names = Names({"data.example.com": [[PUBLIC]]})
    with pytest.raises(InputError) as caught:
        web.download(
            "https://data.example.com/data.csv", tmp_path / "out", most=10, seconds=10, web=site.web(resolve=names)
        )
    assert caught.value.code == "SOURCE_CERTIFICATE"
    assert refusal(site, tmp_path, web=site.web(context=ssl.create_default_context())).code == "SOURCE_CERTIFICATE"
    assert site.heard == []


def test_three_redirects_are_followed_and_credentials_stay_behind(site: Site, tmp_path: Path) -> None:
    site.answers |= {
        "/1": gives(b"", 302, Location="/2", Set_Cookie="a=b"), "/2": gives(b"", 307, Location=f"https://{OTHER}/3"),
        "/3": gives(b"", 301, Location="https://data.example.org/data.csv"),
    }  # fmt: skip
    assert fetch(site, "/1", tmp_path, headers={"Authorization": "Basic eDp5"}) is not None
    assert ["authorization" in headers for _, headers, _ in site.heard] == [True, True, False, False]
    assert not any("cookie" in headers or "referer" in headers for _, headers, _ in site.heard)


def test_a_fourth_redirect_is_one_too_many(site: Site, tmp_path: Path) -> None:
    site.answers |= {f"/{k}": gives(b"", 302, Location=f"/{k + 1}") for k in range(4)}
    site.answers["/4"] = gives(DATA)
    assert refusal(site, tmp_path, "/0").code == "URL_NOT_ALLOWED"
    assert fetch(site, "/1", tmp_path) is not None


def test_only_the_hosts_of_a_list_are_asked_if_there_is_one(site: Site, tmp_path: Path) -> None:
    listed = site.web(hosts=frozenset({"data.example.org"}))
    site.answers["/away"] = gives(b"", 302, Location=f"https://{OTHER}/data.csv")
    assert fetch(site, folder=tmp_path, web=listed) is not None
    (tmp_path / "out").unlink()
    assert refusal(site, tmp_path, "/away", web=listed).code == "URL_NOT_ALLOWED"
    assert listed.resolve.asked == ["data.example.org"] * 2  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("answer", "code", "kind"),
    [
        (gives(b"", 404), "DATASET_NOT_FOUND", InputError), (gives(b"", 403), "SOURCE_REFUSED", InputError),
        (gives(b"", 503), "SOURCE_UNAVAILABLE", StorageError), (gives(b"", 429), "SOURCE_UNAVAILABLE", StorageError),
        (gives(DATA, 206), "SOURCE_REFUSED", InputError), (gives(b"x", Content_Encoding="br"), "SOURCE_REFUSED", InputError),
        (gives(DATA, Content_Length=str(len(DATA) + 1)), "SOURCE_UNAVAILABLE", StorageError),
        (gives(b"", 302), "URL_NOT_ALLOWED", InputError), (gives(b"", 304), "SOURCE_REFUSED", InputError),
    ],
)  # fmt: skip
def test_what_is_not_the_whole_file_is_no_file(
    answer: Any, code: str, kind: type[CausalError], site: Site, tmp_path: Path
) -> None:
    site.answers["/other"] = answer
    if code == "URL_NOT_ALLOWED":
        site.answers["/other"] = gives(b"", 302, Location="ftp://data.example.org/x")
    found = refusal(site, tmp_path, "/other")
    assert (found.code, type(found)) == (code, kind)


def test_a_file_beyond_the_limit_is_refused_before_or_while_it_comes(site: Site, tmp_path: Path) -> None:
    assert refusal(site, tmp_path, most=len(DATA) - 1).code == "DATASET_TOO_LARGE"
    assert fetch(site, folder=tmp_path, most=len(DATA)) is not None


def test_a_version_that_is_known_is_not_sent_again(site: Site, tmp_path: Path) -> None:
    site.answers["/data.csv"] = gives(b"", 304, ETag='"v1"')
    assert fetch(site, folder=tmp_path, etag='"v1"') is None
    assert site.heard[0][1]["if-none-match"] == '"v1"'


def test_a_host_that_is_not_there_or_does_not_answer_is_told_apart(site: Site, tmp_path: Path) -> None:
    assert refusal(site, tmp_path, web=site.web(resolve=Names({}))).code == "DATASET_NOT_FOUND"
    assert refusal(site, tmp_path, web=site.web(dial=Wire(None))).code == "SOURCE_UNAVAILABLE"


def test_a_post_is_sent_once_and_follows_nothing(site: Site) -> None:
    site.answers["/hook"] = gives(b"", 307, Location="/data.csv")
    status = web.post("https://data.example.org/hook", b"{}", seconds=10, web=site.web(), headers={"X-A": "1"})
    assert status == 307
    assert [(path, body) for path, _, body in site.heard] == [("/hook", b"{}")]


@pytest.mark.parametrize(
    "address",
    [
        "127.0.0.1", "127.8.8.8", "0.0.0.0", "10.1.2.3", "172.16.0.1", "192.168.0.1", "169.254.169.254", "100.64.0.1",  # noqa: S104
        "100.100.100.200", "192.0.0.192", "192.0.2.1", "198.18.0.1", "198.51.100.1", "203.0.113.1", "224.0.0.1", "239.1.1.1",
        "240.0.0.1", "255.255.255.255", "192.88.99.1", "168.63.129.16", "::", "::1", "fe80::1", "fe80::1%eth0", "fec0::1",
        "fd00:ec2::254", "fc00::1", "ff02::1", "::ffff:8.8.8.8", "::ffff:127.0.0.1", "::8.8.8.8", "64:ff9b::808:808",
        "64:ff9b:1::1", "2002:808:808::1", "2002:7f00:1::", "2001:0:4136:e378::1", "2001:db8::1", "3fff::1", "100::1", "",
        "localhost", "2130706433",
    ],
)  # fmt: skip
def test_an_address_inside_or_of_a_special_kind_is_not_public(address: str) -> None:
    assert not web.is_public(address)


@pytest.mark.parametrize(
    "address", ["8.8.8.8", PUBLIC, "172.32.0.1", "100.128.0.1", "2606:4700::1111", "2a00:1450:4001::1"]
)
def test_an_address_of_the_internet_is_public(address: str) -> None:
    assert web.is_public(address)


@pytest.mark.parametrize(
    ("address", "host", "path"),
    [
        ("https://Data.Example.org", "data.example.org", "/"), ("HTTPS://a.org:443/x?y=1#z", "a.org", "/x?y=1"),
        ("https://a.org?q", "a.org", "/?q"), ("https://xn--bcher-kva.example/%20", "xn--bcher-kva.example", "/%20"),
    ],
)  # fmt: skip
def test_an_address_is_read_in_one_way(address: str, host: str, path: str) -> None:
    assert web.parse(address) == web.Place(host, path)


@pytest.mark.parametrize(
    "address",
    [
        "https://", "https:///x", "https://a", "https://a.org:80/", "https://a.org:/", "https://a..org/", "https://.a.org/",
        "https://-a.org/", "https://a.org./", "https://a_b.org/", "https://a.org%2f@b.org/", "https://a.org\t/",
        "https://a.org/\r\nHost: b.org", "https://1.2.3.4/", "https://1.2.3.0x4/", "https://printer.local/", "//a.org/x",
        "https://" + "a." * 126 + "org/x", "https://a.org/" + "x" * 2048, " https://a.org/",
    ],
)  # fmt: skip
def test_an_address_that_could_be_read_in_two_ways_is_refused(address: str) -> None:
    with pytest.raises(InputError) as caught:
        web.parse(address)
    assert caught.value.code == "URL_NOT_ALLOWED"

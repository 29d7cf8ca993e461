"""Addresses are parsed strictly; one that two programs could read differently is refused."""

import pytest

from nic.errors import OutsideRoots
from nic.serving.addresses import Address

SECRET = "jane"


@pytest.mark.parametrize(
    ("text", "opened"),
    [
        ("https://archive.example/wsi/a.svs", "https://archive.example/wsi/a.svs"),
        ("HTTPS://Archive.Example:443/wsi/a.svs", "https://archive.example/wsi/a.svs"),
        ("http://archive.example:080/wsi/a.svs", "http://archive.example/wsi/a.svs"),
        ("http://archive.example:8080/wsi/a.svs", "http://archive.example:8080/wsi/a.svs"),
        ("https://archive.example/wsi/a b.svs", "https://archive.example/wsi/a%20b.svs"),
        ("https://archive.example/wsi/a%20b+c,d.svs", "https://archive.example/wsi/a%20b+c,d.svs"),
        ("https://archive.example/Weiß/ä.svs", "https://archive.example/Wei%C3%9F/%C3%A4.svs"),
        ("https://archive.example/wsi/a@2x..b.svs", "https://archive.example/wsi/a@2x..b.svs"),
        ("https://archive.example/wsi/..a.svs", "https://archive.example/wsi/..a.svs"),
        ("s3://Old_Bucket/Weiß/a b.svs", "s3://Old_Bucket/Weiß/a b.svs"),
        ("gs://slides/tcga/a.svs", "gs://slides/tcga/a.svs"),
        ("s3://slides", "s3://slides"),
    ],
)
def test_a_plain_address_is_opened_as_it_was_parsed(text: str, opened: str) -> None:
    assert str(Address.parse(text)) == opened
    assert Address.parse(opened) == Address.parse(text)


@pytest.mark.parametrize(
    "text",
    [
        "file:///etc/passwd",
        "FILE:///etc/passwd",
        "ftp://archive.example/wsi/jane.svs",
        "memory://wsi/jane.svs",
        "github://jane:repo@/a.svs",
        "data://text/plain,jane.svs",
        "local://etc/jane.svs",
        "simplecache::s3://slides/tcga/jane.svs",
        "filecache::https://archive.example/wsi/jane.svs",
        "zip://jane.svs::https://archive.example/wsi/a.zip",
        "https://archive.example/wsi/jane.svs::file:///etc/passwd",
        "s3://slides/tcga/jane::a.svs",
        "https://jane@archive.example/wsi/a.svs",
        "https://jane:secret@archive.example/wsi/a.svs",
        "https://archive.example@evil.example/wsi/jane.svs",
        "https://archive.example:secret@evil.example/wsi/jane.svs",
        "https://archive.example%40evil.example/wsi/jane.svs",
        "https://archive.example/wsi/jane.svs?token=1",
        "https://archive.example?/wsi/jane.svs",
        "s3://slides/tcga/jane.svs?versionId=1",
        "https://archive.example/wsi/jane.svs#a",
        "https://evil.example#archive.example/wsi/jane.svs",
        "https://archive.example/wsi/../jane.svs",
        "https://archive.example/wsi/./jane.svs",
        "https://archive.example/wsi/%2e%2e/jane.svs",
        "https://archive.example/wsi/%2E./jane.svs",
        "https://archive.example/wsi/%252e%252e/jane.svs",
        "https://archive.example/wsi/%25252e%25252e/jane.svs",
        "https://archive.example/wsi/..%2fjane.svs",
        "https://archive.example/wsi/..%252fjane.svs",
        "https://archive.example/wsi/a%2Fjane.svs",
        "https://archive.example/wsi/..%5cjane.svs",
        "https://archive.example/wsi/..;/jane.svs",
        "https://archive.example/wsi/..;a=1/jane.svs",
        "https://archive.example/wsi/%2e%2e%3b/jane.svs",
        "https://archive.example/wsi/.. /jane.svs",
        "https://archive.example/wsi/.../jane.svs",
        "https://archive.example/wsi/\uff0e\uff0e/jane.svs",
        "https://archive.example/wsi/\u2025/jane.svs",
        "https://archive.example/wsi/..\uff0fjane.svs",
        "https://archive.example/wsi/%c0%ae%c0%ae/jane.svs",
        "s3://slides/tcga/../jane.svs",
        "s3://slides/tcga/%2e%2e/jane.svs",
        "https://archive.example//wsi/jane.svs",
        "https://archive.example/wsi//jane.svs",
        "https://archive.example/wsi/jane.svs/",
        "https:///archive.example/wsi/jane.svs",
        "https:/archive.example/wsi/jane.svs",
        "https:\\\\archive.example\\wsi\\jane.svs",
        "https://archive.example\\@evil.example/wsi/jane.svs",
        "https://archive.example/wsi\\..\\jane.svs",
        "https://archive.example/wsi/jane.svs\0",
        "https://archive.example/wsi/jane%00.svs",
        "https://archive.example/wsi/jane%0d%0aHost:evil.example.svs",
        "https://archive.example/wsi/jane\r\nHost: evil.example\r\n.svs",
        "https://archive.example/wsi/ja\tne.svs",
        "ht\ntps://archive.example/wsi/jane.svs",
        " https://archive.example/wsi/jane.svs",
        "https://archive.example/wsi/jane\x7f.svs",
        "https://archive.example/wsi/\u202ejane.svs",
        "https://archive.example/wsi/\ud800jane.svs",
        "https://archive.example/wsi/jane%zz.svs",
        "https://archive.example/wsi/jane%.svs",
        "https://archive.example:/wsi/jane.svs",
        "https://archive.example:0x1bb/wsi/jane.svs",
        "https://archive.example:-1/wsi/jane.svs",
        "https://[::1]/wsi/jane.svs",
        "https://[fe80::1%25eth0]/wsi/jane.svs",
        "https://archive.example./wsi/jane.svs",
        "https://.archive.example/wsi/jane.svs",
        "https://\uff45vil.example/wsi/jane.svs",
        "https://archive\u3002example/wsi/jane.svs",
        "s3://slides:9000/tcga/jane.svs",
        "s3://arn:aws:s3:eu-west-1:123:accesspoint/jane/a.svs",
        "s3://../jane.svs",
        "https://archive.example/" + "jane" * 1000 + ".svs",
        "https://",
        "://jane",
        "/slides/jane.svs",
        "",
    ],
)
def test_an_ambiguous_address_is_refused_without_repeating_it(text: str) -> None:
    with pytest.raises(OutsideRoots) as refused:
        Address.parse(text)
    assert SECRET not in str(refused.value)
    assert "example" not in str(refused.value)


@pytest.mark.parametrize(
    ("address", "prefix"),
    [
        ("s3://slides/tcga/a.svs", "s3://slides/tcga"),
        ("s3://slides/tcga/deep/a.svs", "s3://slides/tcga"),
        ("s3://slides/tcga/a.svs", "s3://slides"),
        ("s3://slides/tcga/a.svs", "s3://slides/tcga/a.svs"),
        ("https://ARCHIVE.example:443/wsi/a.svs", "https://archive.example/wsi"),
        ("https://archive.example/Wei%C3%9F/a.svs", "https://archive.example/Weiß"),
    ],
)
def test_an_address_lies_under_its_folders(address: str, prefix: str) -> None:
    assert Address.parse(address).lies_under(Address.parse(prefix))


@pytest.mark.parametrize(
    ("address", "prefix"),
    [
        ("s3://slides/tcga-secret/a.svs", "s3://slides/tcga"),
        ("s3://slides/TCGA/a.svs", "s3://slides/tcga"),
        ("s3://slides/a.svs", "s3://slides/tcga"),
        ("s3://slides", "s3://slides/tcga"),
        ("s3://slides-of-others/tcga/a.svs", "s3://slides"),
        ("s3://Slides/a.svs", "s3://slides"),
        ("gs://slides/tcga/a.svs", "s3://slides/tcga"),
        ("http://archive.example/wsi/a.svs", "https://archive.example/wsi"),
        ("http://archive.example:443/wsi/a.svs", "https://archive.example/wsi"),
        ("https://archive.example:8443/wsi/a.svs", "https://archive.example/wsi"),
        ("https://archive.example/wsi/a.svs", "https://archive.example:8443/wsi"),
        ("https://archive.example.evil/wsi/a.svs", "https://archive.example"),
        ("https://a.archive.example/wsi/a.svs", "https://archive.example"),
        ("https://archive.example/%77si/a.svs", "https://archive.example/wsi"),
        ("http://2130706433/wsi/a.svs", "http://127.0.0.1/wsi"),
    ],
)
def test_an_address_does_not_lie_under_other_folders(address: str, prefix: str) -> None:
    assert not Address.parse(address).lies_under(Address.parse(prefix))

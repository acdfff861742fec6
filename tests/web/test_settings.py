"""The file of --web.config.file: its settings, and the errors about mistakes in it."""

import ssl
from pathlib import Path

import pytest

from exporter.errors import ConfigurationError
from exporter.web.settings import RateLimit, load_settings
from tests.support.web_config import Authority, hashed, write

GOOD_HASH = "$2y$10$X0h1gDsPszWURQaxFh.zoubFi6DXncSjhoQNJgRrnGs7EsimhC7zG"


def errors(folder: Path, text: str) -> list[str]:
    """Return the errors about `text`, without the file's folder."""
    path = folder / "web.yml"
    path.write_text(text)
    with pytest.raises(ConfigurationError) as caught:
        load_settings(path)
    return [line.removeprefix(f"{folder}/") for line in str(caught.value).splitlines()]


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ("basic_auth_user: {}", "1:1: basic_auth_user: unknown key; did you mean basic_auth_users?"),
        ("a: 1", "1:1: a: unknown key; known here are tls_server_config, http_server_config,"),
        ("basic_auth_users: {alice: secret}", "1:27: basic_auth_users.alice: is not a password hashed with bcrypt"),
        (f"basic_auth_users: {{alice: {GOOD_HASH.replace('10', '99')}}}", "is not a password hashed with bcrypt"),
        ("basic_auth_users:\n  alice:", "2:9: basic_auth_users.alice: is empty"),
        (
            f'basic_auth_users: {{"a:b": {GOOD_HASH}}}',
            "1:20: basic_auth_users.a:b: no client can log in with this name",
        ),
        (f'basic_auth_users: {{"a\\tb": {GOOD_HASH}}}', "no client can log in with this name"),
        ("basic_auth_users: [alice]", "1:19: basic_auth_users: "),
        ("http_server_config: {http2: true}", "1:29: http_server_config.http2: HTTP/2 is not spoken here"),
        ("http_server_config: {headers: {X-Foo: a}}", "1:32: http_server_config.headers.X-Foo: cannot be set"),
        (
            "http_server_config: {headers: {X-Frame-Options: no}}",
            "1:49: http_server_config.headers.X-Frame-Options: must be deny or sameorigin",
        ),
        (
            'http_server_config: {headers: {Content-Security-Policy: "a\\nb"}}',
            "http_server_config.headers.Content-Security-Policy: holds a character that cannot stand in a header",
        ),
        ("rate_limit: {interval: 1s}", "1:13: rate_limit: burst is missing"),
        ("rate_limit: {interval: 1, burst: 1}", "1:24: rate_limit.interval: 1 has no unit: write 1s"),
        ("rate_limit: {interval: 1s, burst: 0}", "1:35: rate_limit.burst: must be between 1 and 1000000"),
        ("tls_server_config: {}", "1:20: tls_server_config: one of cert_file, cert is missing"),
        ("", "1:1: the file is empty"),
    ],
)
def test_a_mistake_is_named_with_its_place(tmp_path: Path, text: str, error: str) -> None:
    assert any(f"web.yml:{error}" in line or error in line for line in errors(tmp_path, text))


@pytest.mark.parametrize(
    ("setting", "error"),
    [
        ("cert_file: nowhere.pem", "cert_file: cannot use "),
        ("key_file: other.key", "key_file: the private key does not belong to the certificate"),
        ("key_file: ca.pem", "key_file: holds no private key"),
        ("cert_file: broken.pem", "cert_file: the certificate and its key cannot be used: they are damaged"),
        ("cert: nonsense", "cert: is not PEM"),
        ("cert: '-----BEGIN CERTIFICATE-----'", "cert: does not go with cert_file"),
        ("key_file: encrypted.key", "key_file: the key is encrypted"),
        ("client_ca_file: ca.pem", "client_ca_file: has no effect without client_auth_type"),
        ("client_auth_type: RequireAndVerifyClientCert", "RequireAndVerifyClientCert needs client_ca_file"),
        ("client_auth_type: VerifyClientCertIfGiven", "VerifyClientCertIfGiven needs client_ca_file"),
        ("client_auth_type: RequireAnyClientCert", "Python cannot demand a certificate without verifying it"),
        ("client_auth_type: Sometimes", "client_auth_type: Sometimes is none of NoClientCert, "),
        (
            "client_auth_type: RequireAndVerifyClientCert\n  client_ca_file: server.key",
            "client_ca_file: holds no certificate of an authority",
        ),
        ("client_allowed_sans: [a]", "client_allowed_sans: needs client_auth_type: RequireAndVerifyClientCert"),
        (
            "client_auth_type: VerifyClientCertIfGiven\n  client_ca_file: ca.pem\n  client_allowed_sans: [a]",
            "client_allowed_sans: needs client_auth_type: RequireAndVerifyClientCert",
        ),
        ("min_version: TLS10", "min_version: TLS10 cannot be used: it is no longer secure"),
        ("min_version: SSL3", "min_version: SSL3 is none of TLS12, TLS13"),
        ("min_version: TLS13\n  max_version: TLS12", "max_version: is older than min_version"),
        (
            "cipher_suites: [TLS_RSA_WITH_AES_128_CBC_SHA]",
            "cipher_suites: the names of Go's cipher suites mean nothing",
        ),
        ("curve_preferences: [X25519]", "curve_preferences: elliptic curves cannot be chosen here"),
        ("prefer_server_cipher_suites: true", "prefer_server_cipher_suites: the order of cipher suites cannot be set"),
    ],
)
def test_unsupported_tls_is_rejected_with_an_explanation(
    tmp_path: Path, authority: Authority, setting: str, error: str
) -> None:
    usual = authority.issue()
    authority.issue("other")
    key = (tmp_path / "server.key").read_text()
    (tmp_path / "encrypted.key").write_text(
        key.replace("RSA PRIVATE", "ENCRYPTED PRIVATE").replace("EC ", "ENCRYPTED ")
    )
    (tmp_path / "broken.pem").write_text("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n")
    given = {line.strip().partition(":")[0] for line in setting.splitlines()}
    lines = [f"  {name}: {file}" for name, file in usual.items() if name not in given]
    found = errors(tmp_path, "\n".join(["tls_server_config:", *lines, f"  {setting}"]))
    assert any(f"tls_server_config.{error}" in line or error in line for line in found), found


def test_no_error_shows_a_hash_or_a_key(tmp_path: Path) -> None:
    text = "basic_auth_users: {alice: $2y$10$hunter2}\ntls_server_config: {cert: hunter2, key: hunter2}"
    assert not [line for line in errors(tmp_path, text) if "hunter2" in line]


def test_all_settings(tmp_path: Path, authority: Authority) -> None:
    password = hashed("pw")
    settings = load_settings(
        write(
            tmp_path / "web.yml",
            tls_server_config={
                **authority.issue(),
                "client_auth_type": "RequireAndVerifyClientCert",
                "client_ca_file": "ca.pem",
                "client_allowed_sans": ["prometheus"],
                "min_version": "TLS13",
                "max_version": "TLS13",
            },
            http_server_config={
                "http2": False,
                "headers": {
                    "X-Frame-Options": "deny",
                    "Strict-Transport-Security": "max-age=1",
                    "X-XSS-Protection": "",
                },
            },
            basic_auth_users={"alice": password},
            rate_limit={"interval": "1s500ms", "burst": 20},
        )
    )
    assert settings.tls is not None
    assert settings.tls.client_certificates == ssl.CERT_REQUIRED
    assert settings.tls.allowed_sans == {"prometheus"}
    assert settings.tls.min_version == settings.tls.max_version == ssl.TLSVersion.TLSv1_3
    assert settings.users == {"alice": password.encode()}
    assert settings.headers == {"X-Frame-Options": "deny", "Strict-Transport-Security": "max-age=1"}
    assert settings.rate_limit == RateLimit(1.5, 20)
    assert settings.files == tuple(tmp_path / name for name in ("server.pem", "server.key", "ca.pem"))
    assert settings.warnings == ()


def test_certificate_and_key_can_stand_in_the_file_itself(tmp_path: Path, authority: Authority) -> None:
    authority.issue()
    cert, key, ca = ((tmp_path / name).read_text() for name in ("server.pem", "server.key", "ca.pem"))
    tls = {"cert": cert, "key": key, "client_ca": ca, "client_auth_type": "VerifyClientCertIfGiven"}
    settings = load_settings(write(tmp_path / "web.yml", tls_server_config=tls))
    assert settings.tls is not None
    assert settings.tls.client_certificates == ssl.CERT_OPTIONAL
    assert settings.context is not None
    assert settings.files == ()


def test_a_certificate_that_is_requested_but_not_required_is_warned_about(tmp_path: Path, authority: Authority) -> None:
    tls = {**authority.issue(), "client_auth_type": "RequestClientCert"}
    settings = load_settings(write(tmp_path / "web.yml", tls_server_config=tls))
    assert settings.warnings[0].endswith("RequestClientCert: no certificate is requested, since none would be rejected")


@pytest.mark.parametrize("interval", ["0", "0s"])
def test_an_interval_of_0_means_no_limit(tmp_path: Path, interval: str) -> None:
    assert load_settings(write(tmp_path / "web.yml", rate_limit={"interval": interval})).rate_limit is None


@pytest.mark.parametrize("kind", ["$2a$", "$2b$", "$2y$"])
def test_every_kind_of_bcrypt_hash_that_tools_make(tmp_path: Path, kind: str) -> None:
    settings = load_settings(write(tmp_path / "web.yml", basic_auth_users={"alice": GOOD_HASH.replace("$2y$", kind)}))
    assert set(settings.users) == {"alice"}


def test_passwords_without_tls_are_warned_about(tmp_path: Path) -> None:
    settings = load_settings(write(tmp_path / "web.yml", basic_auth_users={"alice": GOOD_HASH}))
    assert settings.warnings[0].endswith("basic_auth_users: passwords travel unencrypted without tls_server_config")


def test_hashes_and_keys_are_not_in_what_the_settings_show(tmp_path: Path) -> None:
    assert "$2" not in repr(load_settings(write(tmp_path / "web.yml", basic_auth_users={"alice": GOOD_HASH})))

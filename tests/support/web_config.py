"""Certificates and settings of a web server."""

import datetime as dt
import json
import ssl
from pathlib import Path
from typing import Any

import bcrypt
import trustme


class Authority:
    """A private certificate authority, and the files and contexts that come from it."""

    def __init__(self, folder: Path, name: str = "ca") -> None:
        self._ca = trustme.CA()
        self.folder = folder
        self.file = folder / f"{name}.pem"
        self._ca.cert_pem.write_to_path(self.file)

    def issue(self, stem: str = "server", *names: str, **more: Any) -> dict[str, str]:
        """Return a certificate and its key, as the settings name them."""
        issued = self._ca.issue_cert(*(names or ("localhost",)), **more)
        chain = b"".join(blob.bytes() for blob in issued.cert_chain_pems)
        (self.folder / f"{stem}.pem").write_bytes(chain)
        issued.private_key_pem.write_to_path(self.folder / f"{stem}.key")
        return {"cert_file": f"{stem}.pem", "key_file": f"{stem}.key"}

    def expired(self, stem: str) -> dict[str, str]:
        return self.issue(stem, "localhost", not_after=dt.datetime.now(dt.UTC) - dt.timedelta(hours=1))

    def client(self, stem: str = "") -> ssl.SSLContext:
        """Return a client that trusts this authority, with the certificate `stem` if one is named."""
        context = ssl.create_default_context(cafile=self.file)
        if stem:
            context.load_cert_chain(self.folder / f"{stem}.pem", self.folder / f"{stem}.key")
        return context


def hashed(password: str, cost: int = 4) -> str:
    return bcrypt.hashpw(password.encode(), bcrypt.gensalt(cost)).decode()


def write(path: Path, **settings: Any) -> Path:
    """Return settings as a file: JSON is YAML."""
    path.write_text(json.dumps(settings, indent=1))
    return path

"""A BMC's pages on loopback, over HTTP and HTTPS, and an ipmitool that prints what the real one documents."""

import datetime
import hashlib
import http.server
import ipaddress
import json
import ssl
import sys
import threading
from base64 import b64encode
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

USER, PASSWORD = "reader", "s3cret word"

DCMI = """

    Instantaneous power reading:                   %s Watts
    Minimum during sampling period:                 12 Watts
    Maximum during sampling period:                432 Watts
    Average power reading over sample period:      228 Watts
    IPMI timestamp:                           11/26/2026 14:03:11 UTC
    Sampling period:                          00000001 Seconds.
    Power reading state is:                   %s

"""
"""As ipmitool prints it (lib/ipmi_dcmi.c)."""


class Device:
    """A device's state: what it shows, and how it is broken."""

    def __init__(self) -> None:
        self.pages: dict[str, Any] = {}
        self.asked: list[tuple[str, str]] = []
        self.needs_password = False
        self.redirects_to = ""
        device = self

        class Pages(http.server.BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                given = self.headers.get("Authorization", "")
                device.asked.append((self.path, given))
                page = device.pages.get(self.path)
                right = "Basic " + b64encode(f"{USER}:{PASSWORD}".encode()).decode()
                if device.needs_password and given != right:
                    self.send_response(401)
                elif device.redirects_to:
                    self.send_response(302)
                    self.send_header("Location", device.redirects_to)
                else:
                    self.send_response(200 if page is not None else 404)
                self.end_headers()
                self.wfile.write((page if isinstance(page, str) else json.dumps(page)).encode())

            def log_message(self, format: str, *args: Any) -> None:
                pass

        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Pages)
        self.scheme = "http"

    def serve(self, certificate: Path | None = None) -> "Device":
        if certificate is not None:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(certificate)
            self._server.socket = context.wrap_socket(self._server.socket, server_side=True)
            self.scheme = "https"
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()
        return self

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()

    @property
    def url(self) -> str:
        return f"{self.scheme}://127.0.0.1:{self._server.server_address[1]}"

    def chassis(self, name: str = "1", *, new: bool = False, watts: float = 250) -> None:
        """A chassis, with the older or the newer page of its power."""
        root = "/redfish/v1/Chassis"
        listed = self.pages.setdefault(root, {"Members": []})
        listed["Members"].append({"@odata.id": f"{root}/{name}"})
        page = "EnvironmentMetrics" if new else "Power"
        self.pages[f"{root}/{name}"] = {"Id": name, page: {"@odata.id": f"{root}/{name}/{page}"}}
        self.show(watts, name)

    def show(self, watts: float, name: str = "1") -> None:
        root = f"/redfish/v1/Chassis/{name}"
        if "EnvironmentMetrics" in self.pages[root]:
            self.pages[f"{root}/EnvironmentMetrics"] = {"PowerWatts": {"Reading": watts}, "EnergykWh": {"Reading": 7}}
        else:
            parts = [{"MemberId": "0", "PowerConsumedWatts": watts}, {"MemberId": "CPU", "PowerConsumedWatts": 90}]
            self.pages[f"{root}/Power"] = {"PowerControl": parts}


def certificate(folder: Path) -> tuple[Path, str]:
    """A certificate of 127.0.0.1 that it signed itself, with its key; and its SHA-256."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "bmc")])
    now = datetime.datetime.now(datetime.UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    path = folder / "bmc.pem"
    path.write_bytes(
        made.public_bytes(serialization.Encoding.PEM)
        + key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    return path, hashlib.sha256(made.public_bytes(serialization.Encoding.DER)).hexdigest()


def credentials(folder: Path, mode: int = 0o600) -> Path:
    path = folder / "bmc.toml"
    path.write_text(f'user = "{USER}"\npassword = "{PASSWORD}"\n')
    path.chmod(mode)
    return path


def ipmitool(folder: Path) -> Path:
    """A program that notes how it was called, and prints what lies beside it."""
    path = folder / "ipmitool"
    path.write_text(
        f"#!{sys.executable} -I\n"
        "import json, os, pathlib, sys\n"
        f"here = pathlib.Path({str(folder)!r})\n"
        "told = [sys.argv[1:], os.environ.get('IPMI_PASSWORD', '')]\n"
        "(here / 'called').write_text(json.dumps(told))\n"
        "if not (here / 'says').exists(): sys.exit('Error: Unable to establish IPMI v2 / RMCP+ session')\n"
        "print((here / 'says').read_text())\n"
    )
    path.chmod(0o700)
    return path

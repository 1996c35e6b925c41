# SPDX-License-Identifier: BSD-2-Clause
"""certificates: an authority, and certificates that it or others have signed."""

import subprocess

from harness import Skip

NAME = "www.example.org"
KEY = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes")
CONFIG = """
[ca]
default_ca = own
[own]
database = {folder}/index
new_certs_dir = {folder}
rand_serial = yes
default_md = sha256
policy = any
copy_extensions = copy
unique_subject = no
[any]
commonName = supplied
"""


def openssl(*words):
    try:
        subprocess.run(["openssl", *map(str, words)], check=True, capture_output=True)
    except FileNotFoundError as error:
        raise Skip("needs openssl") from error


def self_signed(folder, file, name=NAME):
    """FILE.pem and FILE.key in @folder: its own authority."""
    openssl("req", "-x509", *KEY, "-subj", f"/CN={name}", "-addext", f"subjectAltName=DNS:{name}",
            "-days", 10, "-out", folder / f"{file}.pem", "-keyout", folder / f"{file}.key")


class Authority:
    def __init__(self, folder, file="ca"):
        self.folder, self.file = folder, file
        folder.mkdir(exist_ok=True)
        self.pem = folder / f"{file}.pem"
        self.config = folder / f"{file}.conf"
        self.config.write_text(CONFIG.format(folder=folder))
        (folder / "index").touch()
        openssl("req", "-x509", *KEY, "-subj", f"/CN={file}", "-days", 3650, "-out", self.pem,
                "-keyout", folder / f"{file}.key")

    def sign(self, file, name=NAME, first="20200101000000Z", last="20900101000000Z"):
        """FILE.pem and FILE.key, for @name from @first to @last."""
        request = self.folder / f"{file}.csr"
        openssl("req", *KEY, "-subj", f"/CN={name}", "-addext", f"subjectAltName=DNS:{name}",
                "-out", request, "-keyout", self.folder / f"{file}.key")
        openssl("ca", "-batch", "-notext", "-config", self.config, "-cert", self.pem, "-keyfile",
                self.folder / f"{self.file}.key", "-startdate", first, "-enddate", last, "-in",
                request, "-out", self.folder / f"{file}.pem")

# SPDX-License-Identifier: Apache-2.0
"""Certificates for providers over TLS, made by the openssl command."""
import subprocess


def openssl(directory, *arguments):
    subprocess.run(["openssl", *arguments], cwd=directory, check=True, capture_output=True, timeout=60)


def make_papers(directory):
    """An authority, another one, and certificates of the first: good, expired, and for another host."""
    key = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"]
    for name in ("authority", "stranger"):
        openssl(directory, "req", "-x509", *key, "-keyout", f"{name}.key", "-out", f"{name}.pem", "-subj", f"/CN={name}", "-days", "2")
    (directory / "ca.cnf").write_text(
        "[ca]\ndefault_ca = own\n[own]\ndatabase = index.txt\nnew_certs_dir = .\nrand_serial = yes\ndefault_md = sha256\n"
        "policy = any\nunique_subject = no\n[any]\ncommonName = supplied\n")
    (directory / "index.txt").write_text("")
    over = ["-startdate", "20200101000000Z", "-enddate", "20200102000000Z"]
    for name, names, dates in (("good", "IP:127.0.0.1,DNS:localhost,DNS:provider.example.test", ["-days", "2"]), ("expired", "IP:127.0.0.1", over),
                               ("elsewhere", "DNS:example.com", ["-days", "2"])):
        (directory / f"{name}.ext").write_text(f"subjectAltName={names}\n")
        openssl(directory, "req", *key, "-keyout", f"{name}.key", "-out", f"{name}.csr", "-subj", "/CN=provider")
        # "ca", since "x509" of OpenSSL 3.5 signs nothing that is over and that of 3.0 takes no dates
        openssl(directory, "ca", "-batch", "-notext", "-config", "ca.cnf", "-in", f"{name}.csr", "-cert", "authority.pem",
                "-keyfile", "authority.key", "-extfile", f"{name}.ext", "-out", f"{name}.pem", *dates)

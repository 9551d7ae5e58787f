"""The files that the server serves, and what lies beside their folder and must not be served."""

import gzip
import os
import shutil
import subprocess

from example_server import Failed

SECRET = "this must not be served"
DATA_BYTES = 3_000_000
# A file of zeros that takes no space on the disk.
SPARSE_BYTES = 300 << 20
COMPRESSED = "let answer = 42;\n" * 500
# 256 bytes in UTF-8: one more than most file systems allow.
LONG_NAME = "ü" * 128


def data():
    """Content of `data.bin`: each position has its own four bytes."""
    return b"".join(number.to_bytes(4, "big") for number in range(DATA_BYTES // 4))


def make(folder):
    """Creates `folder/root`, to be served, and secrets beside it. Returns `folder`."""
    shutil.rmtree(folder, ignore_errors=True)
    root = folder / "root"
    for name in ("folder", "empty folder", "with space", ".hidden", ".well-known", "../outside", "../root-beside"):
        (root / name).mkdir(parents=True)
    texts = {
        "index.html": "<title>Files</title>",
        "folder/index.html": "<title>Folder</title>",
        "folder/inner.txt": "inner",
        "empty folder/other.txt": "other",
        "with space/100% café+1.txt": "named",
        "page.html": "<!doctype html><title>Page</title>",
        "data.json": '{"a": 1}',
        "empty.txt": "",
        "a..b": "dots",
        ".hidden/config": SECRET,
        ".env": SECRET,
        ".well-known/security.txt": "Contact: none",
        "../secret.txt": SECRET,
        "../outside/secret.txt": SECRET,
        "app.js": COMPRESSED,
        "only-gzip.css": COMPRESSED,
        # Its path begins like that of the root.
        "../root-beside/secret.txt": SECRET,
    }
    for name, text in texts.items():
        (root / name).write_text(text)
    (root / "data.bin").write_bytes(data())
    (root / "sparse.bin").touch()
    os.truncate(root / "sparse.bin", SPARSE_BYTES)
    for name in ("app.js", "only-gzip.css"):
        (root / f"{name}.gz").write_bytes(gzip.compress(COMPRESSED.encode()))
    (root / "app.js.br").write_bytes(brotli(COMPRESSED))
    links = {
        "link-out.txt": "../secret.txt",
        "link-out-absolute.txt": str(folder / "secret.txt"),
        "link-out-folder": "../outside",
        "link-beside": "../root-beside",
        "link-within.txt": "folder/inner.txt",
        "link-to-itself": "link-to-itself",
        "link-to-nothing": "nothing",
        "link-out.js.gz": "../secret.txt",
    }
    for name, target in links.items():
        os.symlink(target, root / name)
    (root / "link-out.js").write_text("not compressed")
    os.mkfifo(root / "fifo")
    os.mkfifo(root / "page.html.gz")
    return folder


def brotli(text):
    """Compresses by Node: Python has no Brotli."""
    script = "process.stdout.write(require('zlib').brotliCompressSync(require('fs').readFileSync(0)))"
    try:
        done = subprocess.run(["node", "-e", script], input=text.encode(), capture_output=True, check=True, timeout=30)
    except (OSError, subprocess.SubprocessError) as error:
        raise Failed(f"node cannot compress: {error}") from None
    return done.stdout

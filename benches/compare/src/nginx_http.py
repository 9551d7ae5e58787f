"""nginx, one process that answers `GET /` without a file.

    python3 nginx_http.py --http [--listen ADDR]

Uses the `nginx` of the PATH, or that of Debian. nginx takes the place of this process.
"""

import argparse
import os
import shutil
import socket
import sys
import tempfile
import time

CONFIGURATION = """
daemon off;
master_process off;
pid nginx.pid;
error_log stderr crit;
events {{
    worker_connections 4096;
}}
http {{
    access_log off;
    default_type text/plain;
    keepalive_requests 1000000000;
    keepalive_timeout 1h;
    client_body_temp_path body;
    proxy_temp_path proxy;
    fastcgi_temp_path fastcgi;
    uwsgi_temp_path uwsgi;
    scgi_temp_path scgi;
    server {{
        listen {address}:{port};
        location / {{
            return 200 "{body}";
        }}
    }}
}}
"""
NGINX = shutil.which("nginx", path=os.pathsep.join([os.environ["PATH"], "/usr/sbin"]))
START_SECONDS = 10


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--http", action="store_true", required=True)
    parser.add_argument("--listen", default="127.0.0.1:0")
    address, port = parser.parse_args().listen.rsplit(":", 1)
    with socket.create_server((address, int(port))) as free:
        port = free.getsockname()[1]
    folder = tempfile.mkdtemp(prefix="nginx-")
    with open(f"{folder}/nginx.conf", "w") as file:
        file.write(CONFIGURATION.format(address=address, port=port, body="x" * 100))
    if os.fork() == 0:
        announce(address, port, folder)
    else:
        os.execv(NGINX, [NGINX, "-e", "stderr", "-p", folder, "-c", f"{folder}/nginx.conf"])


def announce(address, port, folder):
    """Reports the address once nginx listens, and removes the configuration, which nginx has read by then."""
    end = time.monotonic() + START_SECONDS
    while time.monotonic() < end:
        try:
            socket.create_connection((address, port)).close()
        except ConnectionRefusedError:
            time.sleep(0.01)
            continue
        print(f"listening on http://{address}:{port}", file=sys.stderr, flush=True)
        break
    shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    main()

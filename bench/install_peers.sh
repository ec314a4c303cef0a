#!/bin/sh
# Installs what passthrough is measured against: nginx, HAProxy, Caddy and wrk (the load) from Debian (as root, else skipped aloud),
# http-proxy and @fastify/reply-from from npm, mitmproxy from pip. Nothing goes into the project or its environment:
# npm and pip fill one folder, which may be deleted at any time. The bench skips aloud what is not there.
#
#   sh bench/install_peers.sh             into $STRANGLER_BENCH_PEERS, or ~/.cache/strangler-bench-peers
set -u
folder=${STRANGLER_BENCH_PEERS:-${XDG_CACHE_HOME:-$HOME/.cache}/strangler-bench-peers}
mkdir -p "$folder" || exit 1
missing=0

skipped() {
    echo "SKIPPED: $1" >&2
    missing=1
}

if ! command -v apt-get >/dev/null; then
    skipped "nginx, haproxy, caddy, wrk: there is no apt-get here"
elif [ "$(id -u)" -ne 0 ]; then
    skipped "nginx, haproxy, caddy, wrk: run as root: apt-get install --no-install-recommends nginx-light haproxy caddy wrk"
else
    for package in nginx-light haproxy caddy wrk; do
        command -v "${package%-light}" >/dev/null ||
            DEBIAN_FRONTEND=noninteractive apt-get install --yes --quiet --no-install-recommends "$package" ||
            skipped "$package: apt-get could not install it"
    done
fi

if command -v npm >/dev/null; then
    npm install --prefix "$folder" --no-audit --no-fund --no-package-lock fastify @fastify/reply-from http-proxy ||
        skipped "http-proxy, @fastify/reply-from: npm could not install them"
else
    skipped "http-proxy, @fastify/reply-from: there is no npm here"
fi

if "${PYTHON:-python3}" -m venv "$folder/mitmproxy" && "$folder/mitmproxy/bin/pip" install --quiet mitmproxy; then
    :
else
    skipped "mitmproxy: pip could not install it"
fi
echo "peers are in $folder"
exit "$missing"

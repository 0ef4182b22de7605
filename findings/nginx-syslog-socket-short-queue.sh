#!/bin/sh
# nginx's syslog over a unix socket: how many lines wait for a slow reader, and what bounds them.
#
# Guess, before the run: as many as net.unix.max_dgram_qlen says, and one: 513 of 600; nginx says in its error log that it lost the others.
# Seen: 278 of each worker's short lines, 167 of 400 bytes, 93 of 900. What bounds them is the send buffer of the worker's socket
# (net.core.wmem_default, 208 KiB), in which such a line takes 0.75, 1.25 or 2.25 KiB. The others are dropped, which error_log says at the
# level warn; its default is error.
# Why it matters: who raises max_dgram_qlen for a log shipper that wakes now and then still loses lines at a third of it, and by default
# nothing tells.
# shellcheck source-path=SCRIPTDIR source=common.sh
. "$(dirname "$0")/common.sh"
# shellcheck disable=SC2034  # read by box
sysctl=net.unix.max_dgram_qlen=512
box "nginx python3"

cat >"$work/nginx.conf" <<'END'
error_log /lab/error.log;
error_log /lab/warn.log warn;
pid /tmp/nginx.pid;
worker_processes 1;
events {}
http {
    log_format line '$uri';
    access_log syslog:server=unix:/tmp/reader.sock,nohostname line;
    server {
        listen 127.0.0.1:8080;
        keepalive_requests 10000;
        location / { return 204; }
    }
}
END
cat >"$work/ask.py" <<'END'
import http.client
import pathlib
import socket
import subprocess

reader = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
reader.bind("/tmp/reader.sock")
pathlib.Path("/tmp/reader.sock").chmod(0o666)
reader.setblocking(False)
subprocess.run(["nginx", "-c", "/lab/nginx.conf"], check=True)
print("max_dgram_qlen", pathlib.Path("/proc/sys/net/unix/max_dgram_qlen").read_text().strip())
for title, path in (("short", "/"), ("400 bytes", f"/{'x' * 350}"), ("900 bytes", f"/{'x' * 850}")):
    client = http.client.HTTPConnection("127.0.0.1", 8080)
    for _ in range(601):  # the line of the last one comes after its answer, and is not counted
        client.request("GET", path)
        client.getresponse().read()
    found = 0
    while True:
        try:
            reader.recv(4096)
            found += 1
        except BlockingIOError:
            break
    print(title, "lines:", found, "of 600 wait")
END
in_box python3 ask.py >"$work/seen"
in_box grep -c "send() to syslog failed" error.log warn.log | sed 's/:[1-9].*/: many/' >>"$work/seen"
recorded <<'END'
max_dgram_qlen 512
short lines: 278 of 600 wait
400 bytes lines: 167 of 600 wait
900 bytes lines: 93 of 600 wait
error.log:0
warn.log: many
END

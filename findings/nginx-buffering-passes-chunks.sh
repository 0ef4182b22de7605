#!/bin/sh
# nginx: with `proxy_buffering on`, a chunked stream passes event by event; over HTTP/1.0, or with gzip, it stands still.
#
# Guess, before the run: buffering holds small events back until 4 KB or 8 KB are together, whatever the protocol, so an event stream
# needs `proxy_buffering off` or X-Accel-Buffering: no.
# Seen: over HTTP/1.1 each event goes to the client before the next exists, buffering or not. Over HTTP/1.0, which was the default
# towards upstreams until 1.29.6, none does until the end. gzip brings the standstill back on HTTP/1.1, for any type in gzip_types;
# X-Accel-Buffering: no cures both.
# Why it matters: an upgrade to 1.30 mends streams by itself, `proxy_http_version 1.0` or text/event-stream in gzip_types breaks
# them, and a test without Accept-Encoding: gzip does not notice. Send X-Accel-Buffering: no from the view all the same.
# shellcheck source-path=SCRIPTDIR source=common.sh
. "$(dirname "$0")/common.sh"
box "nginx python3-venv" "gunicorn==27.0.1 flask==3.1.3"

# The view makes the next event only when the client has said that it has the last one, or after 2 s without a word.
cat >"$work/app.py" <<'END'
import threading

from flask import Flask

app = Flask(__name__)
received = threading.Semaphore(0)


@app.post("/received")
def acknowledge():
    received.release()
    return ""


@app.post("/reset")
def reset():
    while received.acquire(blocking=False):
        pass
    return ""


@app.get("/events")
@app.get("/unbuffered", defaults={"headers": {"X-Accel-Buffering": "no"}})
def events(headers=None):
    def stream():
        passed = 0
        for number in range(3):
            yield f"data: {number}\n\n"
            passed += received.acquire(timeout=2)
        yield f"{passed} of 3 events arrived before the next one was made"

    return stream(), {"Content-Type": "text/event-stream", **(headers or {})}
END
cat >"$work/nginx.conf" <<'END'
error_log /lab/error.log;
pid /tmp/nginx.pid;
events {}
http {
    access_log off;
    gzip_types text/event-stream;
    upstream app { server 127.0.0.1:8000; }
    server { listen 127.0.0.1:8011;          location / { proxy_pass http://app; } }
    server { listen 127.0.0.1:8010;          location / { proxy_pass http://app; proxy_http_version 1.0; } }
    server { listen 127.0.0.1:8012; gzip on; location / { proxy_pass http://app; } }
}
END
cat >"$work/ask.py" <<'END'
import http.client
import zlib

for what, port, path in (
    ("HTTP/1.1", 8011, "/events"),
    ("HTTP/1.0", 8010, "/events"),
    ("HTTP/1.0, X-Accel-Buffering: no", 8010, "/unbuffered"),
    ("HTTP/1.1, gzip", 8012, "/events"),
    ("HTTP/1.1, gzip, X-Accel-Buffering: no", 8012, "/unbuffered"),
):
    stream = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
    stream.request("GET", path, headers={"Accept-Encoding": "gzip"})
    reply = stream.getresponse()
    gunzip = zlib.decompressobj(31).decompress if reply.getheader("Content-Encoding") == "gzip" else bytes
    text, said = b"", 0
    while part := reply.read1():
        text += gunzip(part)
        while said < text.count(b"\n\n"):
            said += 1
            aside = http.client.HTTPConnection("127.0.0.1", 8000, timeout=20)
            aside.request("POST", "/received")
            aside.getresponse().read()
    print(f"{what}: {text.split(b'\n\n')[-1].decode()}")
    aside = http.client.HTTPConnection("127.0.0.1", 8000, timeout=20)
    aside.request("POST", "/reset")
    aside.getresponse().read()
END
in_box sh -eu >"$work/seen" <<'END'
touch server.log
gunicorn --no-control-socket --threads 8 --bind 127.0.0.1:8000 app:app 2>>server.log &
until grep -q Booting server.log; do :; done
nginx -c /lab/nginx.conf
python3 ask.py
END
recorded <<'END'
HTTP/1.1: 3 of 3 events arrived before the next one was made
HTTP/1.0: 0 of 3 events arrived before the next one was made
HTTP/1.0, X-Accel-Buffering: no: 3 of 3 events arrived before the next one was made
HTTP/1.1, gzip: 0 of 3 events arrived before the next one was made
HTTP/1.1, gzip, X-Accel-Buffering: no: 3 of 3 events arrived before the next one was made
END

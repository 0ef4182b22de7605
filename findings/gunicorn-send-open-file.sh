#!/bin/sh
# gunicorn and uWSGI: send_file() of an open file sends what is behind its descriptor, not what read() would give.
#
# Guess, before the run: gunicorn takes the position from the file object, so a file read in part goes on where the reading ended, in
# every worker class; bz2.open() goes out compressed; gevent, which has no sendfile, reads and is right. uWSGI fails for a BytesIO.
# Seen: gunicorn goes on where the descriptor is. Python reads ahead in blocks, so after one readline() the rest of the first 4096
# bytes or more is missing, with 200 and no error; gevent does the same. bz2.open() goes out compressed from both. uWSGI starts at
# byte 0 whatever was read, sends nothing of a pipe, and takes the BytesIO well. waitress and granian read: all right.
# Why it matters: "skip the first line, send the rest" is right under `flask run` and loses data in production. Hand gunicorn and
# uWSGI a generator, iter(lambda: file.read(65536), b""), or a path.
# shellcheck source-path=SCRIPTDIR source=common.sh
. "$(dirname "$0")/common.sh"
box "uwsgi-core uwsgi-plugin-python3 python3-flask python3-venv" "gunicorn[gevent]==27.0.1 flask==3.1.3 waitress==3.0.2 granian==2.8.9"

cat >"$work/app.py" <<'END'
import bz2
import io
import subprocess

from flask import Flask, send_file

app = Flask(__name__)
TEXT = b"".join(b"%07d\n" % number for number in range(20_000))


def rest_after_first_line():
    file = open("/tmp/text", "rb")
    file.readline()
    return file


FILES = {
    "all of it": lambda: open("/tmp/text", "rb"),
    "rest": rest_after_first_line,
    "bz2": lambda: bz2.open("/tmp/text.bz2"),
    "pipe": lambda: subprocess.Popen(["cat", "/tmp/text"], stdout=subprocess.PIPE).stdout,
    "BytesIO": lambda: io.BytesIO(TEXT),
}


@app.get("/<name>")
def file(name):
    return send_file(FILES[name](), mimetype="text/plain")
END
cat >"$work/ask.py" <<'END'
import bz2
import http.client
import pathlib
import socket
import subprocess
import sys
import urllib.parse

sys.path.insert(0, "/venv/lib/python3.14/site-packages")
from app import FILES, TEXT

pathlib.Path("/tmp/text").write_bytes(TEXT)
pathlib.Path("/tmp/text.bz2").write_bytes(bz2.compress(TEXT))
GUNICORN = "/venv/bin/gunicorn --no-control-socket --workers 1 --bind 127.0.0.1:8000 app:app --worker-class"
SERVERS = {
    "gunicorn sync": f"{GUNICORN} sync",
    "gunicorn gthread": f"{GUNICORN} gthread",
    "gunicorn gevent": f"{GUNICORN} gevent",
    "uWSGI": "uwsgi --plugin python3 --master --die-on-term --need-app --module app:app --http-socket 127.0.0.1:8000",
    "waitress": "/venv/bin/waitress-serve --listen=127.0.0.1:8000 app:app",
    "granian": "/venv/bin/granian --interface wsgi --host 127.0.0.1 --port 8000 app:app",
}


def verdict(name):
    connection = http.client.HTTPConnection("127.0.0.1", 8000, timeout=10)
    connection.request("GET", f"/{urllib.parse.quote(name)}")
    reply = connection.getresponse()
    body, wanted = reply.read(), TEXT[8:] if name == "rest" else TEXT
    if body == wanted:
        return "right"
    if body == TEXT:
        return f"{reply.status}, from the start"
    if body == bz2.compress(TEXT):
        return f"{reply.status}, compressed"
    if body == TEXT[: len(bz2.compress(TEXT))]:
        return f"{reply.status}, cut to the compressed length"
    return f"{reply.status}, {'empty' if not body else 'the beginning is missing' if wanted.endswith(body) else 'something else'}"


for server, command in SERVERS.items():
    with open("/lab/server.log", "w") as log:
        process = subprocess.Popen(command.split(), stdout=log, stderr=log)
    while True:
        try:
            socket.create_connection(("127.0.0.1", 8000)).close()
            break
        except OSError:
            continue
    print(f"{server}:", "; ".join(f"{name} {verdict(name)}" for name in FILES))
    process.terminate()
    process.wait()
END
in_box python3 ask.py >"$work/seen"
recorded <<'END'
gunicorn sync: all of it right; rest 200, the beginning is missing; bz2 200, compressed; pipe right; BytesIO right
gunicorn gthread: all of it right; rest 200, the beginning is missing; bz2 200, compressed; pipe right; BytesIO right
gunicorn gevent: all of it right; rest 200, the beginning is missing; bz2 200, cut to the compressed length; pipe right; BytesIO right
uWSGI: all of it right; rest 200, from the start; bz2 200, compressed; pipe 200, empty; BytesIO right
waitress: all of it right; rest right; bz2 right; pipe right; BytesIO right
granian: all of it right; rest right; bz2 right; pipe right; BytesIO right
END

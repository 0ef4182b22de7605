#!/bin/sh
# gunicorn, granian and cheroot hand half an upload to a Flask view as a whole one, when the client breaks off before its Content-Length.
#
# Guess, before the run: Werkzeug counts the bytes against Content-Length, so under every server the view gets ClientDisconnected (400), and
# in chunks each server raises by itself.
# Seen: in chunks that is so (granian aside). With Content-Length Werkzeug leaves the counting to a server that sets wsgi.input_terminated;
# gunicorn does for every request, and its reader returns what came, as granian's and cheroot's do: the view stores half a file and
# answers 200. granian's read() without a size even returns nothing at all. waitress calls no view before the body is whole, and
# Werkzeug's and gevent's servers raise.
# Why it matters: a client that leaves hears of nothing, and the file is there. nginx keeps it from the view while proxy_request_buffering is
# on; with it off, as large uploads like to have it, half the file is stored. One line in front of the application heals it under gunicorn
# ("without input_terminated").
# shellcheck source-path=SCRIPTDIR source=common.sh
. "$(dirname "$0")/common.sh"
box "nginx python3-venv" "gunicorn==27.0.1 granian==2.8.9 cheroot==11.1.2 waitress==3.0.2 gevent==26.9.0 flask==3.1.3"

cat >"$work/app.py" <<'END'
from flask import Flask, request

app = Flask(__name__)


def note(text):
    with open("/lab/noted", "a") as file:
        file.write(text)


@app.get("/")
def page():
    return "page"


@app.post("/")
def keep():
    note("view, ")
    try:
        note(f"{len(request.get_data())} bytes, ")
    except BaseException as error:
        note(f"{type(error).__name__}, ")
        raise
    return "kept"


def counted(environ, start_response):
    if environ.get("CONTENT_LENGTH"):
        del environ["wsgi.input_terminated"]
    return app(environ, start_response)
END
cat >"$work/half.py" <<'END'
import pathlib
import socket
import sys
import time

port, framing = int(sys.argv[1]), sys.argv[2]
noted = pathlib.Path("/lab/noted")
noted.write_text("")
head = "POST / HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/octet-stream\r\n"
with socket.create_connection(("127.0.0.1", port), timeout=5) as client:
    if framing == "length":
        client.sendall(f"{head}Content-Length: 200000\r\n\r\n".encode() + b"x" * 100000)
    else:
        client.sendall(f"{head}Transfer-Encoding: chunked\r\n\r\n".encode() + (b"2710\r\n" + b"x" * 10000 + b"\r\n") * 10)
    until = time.monotonic() + 2
    while "view" not in noted.read_text() and time.monotonic() < until:
        time.sleep(0.01)
    if port == 8001:
        client.shutdown(socket.SHUT_WR)
        try:
            answer = client.recv(12).decode()[9:] or "no answer"
        except OSError:
            answer = "no answer"
    else:  # what is behind nginx hears of it when the client is gone
        client.close()
        answer = "client gone"
        time.sleep(1)
print(f"{noted.read_text() or 'no view, '}{answer}")
END
cat >"$work/nginx.conf" <<'END'
error_log /lab/error.log;
pid /tmp/nginx.pid;
events {}
http {
    access_log off;
    server { listen 127.0.0.1:8002; location / { proxy_pass http://127.0.0.1:8001; } }
    server { listen 127.0.0.1:8003; location / { proxy_pass http://127.0.0.1:8001; proxy_request_buffering off; } }
}
END
in_box sh -eu >"$work/seen" <<'END'
cd /lab
nginx -c /lab/nginx.conf
serve() {
    name=$1
    shift
    "$@" >server.log 2>&1 &
    until python -c 'import urllib.request; urllib.request.urlopen("http://127.0.0.1:8001/")' 2>/dev/null; do :; done
    for framing in length chunks; do
        echo "$name, $framing: $(python half.py 8001 $framing)"
    done
    [ "$name" != gunicorn ] || echo "nginx, buffering: $(python half.py 8002 length); without: $(python half.py 8003 length)"
    kill $!
    wait $! || :
}
serve gunicorn gunicorn --no-control-socket --threads 2 --bind 127.0.0.1:8001 app:app
serve "gunicorn without input_terminated" gunicorn --no-control-socket --threads 2 --bind 127.0.0.1:8001 app:counted
serve granian granian --interface wsgi --port 8001 app:app
serve cheroot python -c 'from cheroot.wsgi import Server; import app; Server(("127.0.0.1", 8001), app.app).start()'
serve waitress waitress-serve --listen=127.0.0.1:8001 app:app
serve werkzeug flask --app app run --port 8001
serve gevent.pywsgi python -c 'from gevent.pywsgi import WSGIServer; import app; WSGIServer(("127.0.0.1", 8001), app.app).serve_forever()'
END
recorded <<'END'
gunicorn, length: view, 100000 bytes, 200
gunicorn, chunks: view, NoMoreData, 500
nginx, buffering: no view, client gone; without: view, 100000 bytes, client gone
gunicorn without input_terminated, length: view, ClientDisconnected, 400
gunicorn without input_terminated, chunks: view, NoMoreData, 500
granian, length: view, 0 bytes, 200
granian, chunks: view, 0 bytes, 200
cheroot, length: view, 100000 bytes, 200
cheroot, chunks: view, ValueError, 500
waitress, length: no view, no answer
waitress, chunks: no view, no answer
werkzeug, length: view, ClientDisconnected, 400
werkzeug, chunks: view, OSError, 500
gevent.pywsgi, length: view, OSError, 500
gevent.pywsgi, chunks: view, _InvalidClientInput, 500
END

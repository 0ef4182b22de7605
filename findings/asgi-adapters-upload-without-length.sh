#!/bin/sh
# An upload without Content-Length reaches Flask empty through asgiref, a2wsgi, Starlette's adapter and Hypercorn: 200, and no data.
#
# Guess, before the run: a chunked upload is lost with asgiref alone; a2wsgi, Starlette's adapter and Hypercorn hand it on. The same for
# HTTP/2, where a body needs no Content-Length.
# Seen: Flask gets 0 bytes from all of them. wsgi.input holds the whole body, but none sets wsgi.input_terminated, and without that
# and without a length Werkzeug takes the body for empty. gunicorn and granian's own WSGI set it.
# Why it matters: curl --upload-file -, a generator given to requests, fetch() with a stream: the client reads 200 and an empty file is
# stored. A middleware that sets environ["wsgi.input_terminated"] = True cures it ("cured" below).
# shellcheck source-path=SCRIPTDIR source=common.sh
. "$(dirname "$0")/common.sh"
adapters="asgiref==3.13.0 a2wsgi==1.10.10 starlette==1.10.0"
box "python3-venv curl" "$adapters uvicorn==0.54.0 hypercorn==0.18.0 granian==2.8.9 gunicorn[http2]==27.0.1 flask==3.1.3"

cat >"$work/app.py" <<'END'
import a2wsgi
import asgiref.wsgi
import starlette.middleware.wsgi
from flask import Flask, request

app = Flask(__name__)
app.add_url_rule("/ready", view_func=lambda: "", endpoint="ready")
app.add_url_rule("/flask", view_func=lambda: str(len(request.get_data())), endpoint="flask", methods=["PUT"])
app.add_url_rule("/input", view_func=lambda: str(len(request.environ["wsgi.input"].read())), endpoint="input", methods=["PUT"])


def cured(environ, start_response):
    environ["wsgi.input_terminated"] = True
    return app(environ, start_response)


with_asgiref = asgiref.wsgi.WsgiToAsgi(app)
with_a2wsgi = a2wsgi.WSGIMiddleware(app)
with_starlette = starlette.middleware.wsgi.WSGIMiddleware(app)
cured_asgiref = asgiref.wsgi.WsgiToAsgi(cured)
cured_a2wsgi = a2wsgi.WSGIMiddleware(cured)
cured_starlette = starlette.middleware.wsgi.WSGIMiddleware(cured)
END
in_box sh -eu >"$work/seen" <<'END'
head --bytes 3000 /dev/zero >body
put() { curl --silent --show-error --max-time 10 "$@"; }
serve() {
    name=$1
    protocol=$2
    shift 2
    case $protocol in
        HTTP/2) version=--http2-prior-knowledge ;;
        *) version=--http1.1 ;;
    esac
    "$@" >server.log 2>&1 &
    until curl --silent --fail --output /dev/null "$version" http://127.0.0.1:8000/ready; do :; done
    echo "$name, $protocol: with a length $(put "$version" --upload-file body http://127.0.0.1:8000/flask)," \
        "without $(put "$version" --upload-file - http://127.0.0.1:8000/flask <body)," \
        "in wsgi.input $(put "$version" --upload-file - http://127.0.0.1:8000/input <body)"
    kill $!
    wait $! || :
}
serve gunicorn HTTP/1.1 gunicorn --no-control-socket --threads 2 --bind 127.0.0.1:8000 app:app
serve gunicorn HTTP/2 gunicorn --no-control-socket --threads 2 --http-protocols h2,h1 --http2-cleartext both \
    --bind 127.0.0.1:8000 app:app
serve "granian wsgi" HTTP/1.1 granian --interface wsgi --port 8000 app:app
serve "granian wsgi" HTTP/2 granian --interface wsgi --port 8000 app:app
serve hypercorn HTTP/1.1 hypercorn --bind 127.0.0.1:8000 app:app
serve hypercorn HTTP/2 hypercorn --bind 127.0.0.1:8000 app:app
serve "hypercorn, cured" HTTP/1.1 hypercorn --bind 127.0.0.1:8000 app:cured
for adapter in asgiref a2wsgi starlette; do
    serve "uvicorn, $adapter" HTTP/1.1 uvicorn --port 8000 app:with_$adapter
    serve "hypercorn, $adapter" HTTP/2 hypercorn --bind 127.0.0.1:8000 app:with_$adapter
    serve "uvicorn, $adapter, cured" HTTP/1.1 uvicorn --port 8000 app:cured_$adapter
done
END
recorded <<'END'
gunicorn, HTTP/1.1: with a length 3000, without 3000, in wsgi.input 3000
gunicorn, HTTP/2: with a length 3000, without 3000, in wsgi.input 3000
granian wsgi, HTTP/1.1: with a length 3000, without 3000, in wsgi.input 3000
granian wsgi, HTTP/2: with a length 3000, without 3000, in wsgi.input 3000
hypercorn, HTTP/1.1: with a length 3000, without 0, in wsgi.input 3000
hypercorn, HTTP/2: with a length 3000, without 0, in wsgi.input 3000
hypercorn, cured, HTTP/1.1: with a length 3000, without 3000, in wsgi.input 3000
uvicorn, asgiref, HTTP/1.1: with a length 3000, without 0, in wsgi.input 3000
hypercorn, asgiref, HTTP/2: with a length 3000, without 0, in wsgi.input 3000
uvicorn, asgiref, cured, HTTP/1.1: with a length 3000, without 3000, in wsgi.input 3000
uvicorn, a2wsgi, HTTP/1.1: with a length 3000, without 0, in wsgi.input 3000
hypercorn, a2wsgi, HTTP/2: with a length 3000, without 0, in wsgi.input 3000
uvicorn, a2wsgi, cured, HTTP/1.1: with a length 3000, without 3000, in wsgi.input 3000
uvicorn, starlette, HTTP/1.1: with a length 3000, without 0, in wsgi.input 3000
hypercorn, starlette, HTTP/2: with a length 3000, without 0, in wsgi.input 3000
uvicorn, starlette, cured, HTTP/1.1: with a length 3000, without 3000, in wsgi.input 3000
END

#!/bin/sh
# asgiref's and Starlette's WSGI-to-ASGI adapters never call close(): what Flask promises to do after an answer is not done.
#
# Guess, before the run: PEP 3333 says that the server must call close() of what the application returned, and every adapter does.
# Seen: gunicorn, Hypercorn, a2wsgi and uvicorn --interface wsgi do. asgiref's WsgiToAsgi and Starlette's WSGIMiddleware never do:
# no response.call_on_close, nothing that Werkzeug's ClosingIterator closes, for no answer. The answers themselves are right.
# Why it matters: access logs, metrics and spans that end when the answer has gone out stay empty without an error. Use a2wsgi, which
# Starlette's own deprecation warning names too.
# shellcheck source-path=SCRIPTDIR source=common.sh
. "$(dirname "$0")/common.sh"
box "python3-venv curl" "asgiref==3.13.0 a2wsgi==1.10.10 starlette==1.10.0 uvicorn==0.54.0 hypercorn==0.18.0 gunicorn==27.0.1 flask==3.1.3"

cat >"$work/app.py" <<'END'
import a2wsgi
import asgiref.wsgi
import starlette.middleware.wsgi
from flask import Flask
from werkzeug.wsgi import ClosingIterator

site = Flask(__name__)
closed = {"call_on_close": 0, "ClosingIterator": 0}


def count(what):
    closed[what] += 1


@site.get("/page")
def page():
    answer = site.response_class("page")
    answer.call_on_close(lambda: count("call_on_close"))
    return answer


site.add_url_rule("/closed", view_func=lambda: ", ".join(f"{what} {times}" for what, times in closed.items()), endpoint="closed")


def app(environ, start_response):
    body = site(environ, start_response)
    return ClosingIterator(body, lambda: count("ClosingIterator")) if environ["PATH_INFO"] == "/page" else body


with_asgiref = asgiref.wsgi.WsgiToAsgi(app)
with_a2wsgi = a2wsgi.WSGIMiddleware(app)
with_starlette = starlette.middleware.wsgi.WSGIMiddleware(app)
END
in_box sh -eu >"$work/seen" <<'END'
get() { curl --silent --fail --max-time 10 "http://127.0.0.1:8000/$1"; }
serve() {
    name=$1
    shift
    "$@" >server.log 2>&1 &
    until get closed >/dev/null; do :; done
    answers=$(get page; get page; get page)
    for _ in $(seq 50); do # close() may come after the client has the answer
        [ "$(get closed)" = "call_on_close 3, ClosingIterator 3" ] && break
        sleep 0.1
    done
    echo "$name: $answers, then $(get closed)"
    kill $!
    wait $! || :
}
serve gunicorn gunicorn --no-control-socket --threads 2 --bind 127.0.0.1:8000 app:app
serve hypercorn hypercorn --bind 127.0.0.1:8000 app:app
serve "uvicorn --interface wsgi" uvicorn --interface wsgi --port 8000 app:app
serve "uvicorn, a2wsgi" uvicorn --port 8000 app:with_a2wsgi
serve "uvicorn, asgiref" uvicorn --port 8000 app:with_asgiref
serve "uvicorn, starlette" uvicorn --port 8000 app:with_starlette
END
recorded <<'END'
gunicorn: pagepagepage, then call_on_close 3, ClosingIterator 3
hypercorn: pagepagepage, then call_on_close 3, ClosingIterator 3
uvicorn --interface wsgi: pagepagepage, then call_on_close 3, ClosingIterator 3
uvicorn, a2wsgi: pagepagepage, then call_on_close 3, ClosingIterator 3
uvicorn, asgiref: pagepagepage, then call_on_close 0, ClosingIterator 0
uvicorn, starlette: pagepagepage, then call_on_close 0, ClosingIterator 0
END

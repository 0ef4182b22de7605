#!/bin/sh
# granian --interface asgi with a2wsgi: pages work, and every view that reads a request's body answers 500.
#
# Guess, before the run (the control of another trial): with a Content-Length, each adapter hands a body on under every ASGI server.
# Seen: a2wsgi gives what receive() returns to asyncio.run_coroutine_threadsafe(), which takes coroutines only. uvicorn's, Hypercorn's and
# gunicorn's receive() is a coroutine function; granian's returns a future, which `await` takes and this does not: TypeError, for
# forms, JSON and uploads alike, over HTTP/1.1 and HTTP/2. asgiref's and Starlette's adapters work under granian.
# Why it matters: a health check, a crawl or a load test of GETs finds nothing; nobody can log in. Wrap receive() in an `async def`
# ("wrapped" below), or use --interface wsgi.
# shellcheck source-path=SCRIPTDIR source=common.sh
. "$(dirname "$0")/common.sh"
adapters="asgiref==3.13.0 a2wsgi==1.10.10 starlette==1.10.0"
box "python3-venv curl" "$adapters granian==2.8.9 uvicorn==0.54.0 hypercorn==0.18.0 gunicorn==27.0.1 flask==3.1.3"

cat >"$work/app.py" <<'END'
import a2wsgi
import asgiref.wsgi
import starlette.middleware.wsgi
from flask import Flask, request

app = Flask(__name__)
app.add_url_rule("/", view_func=lambda: "page", endpoint="page")
app.add_url_rule("/unread", view_func=lambda: "", endpoint="unread", methods=["POST"])
app.add_url_rule("/form", view_func=lambda: request.form["name"], endpoint="form", methods=["POST"])
app.add_url_rule("/json", view_func=lambda: request.get_json()["name"], endpoint="json", methods=["POST"])

with_asgiref = asgiref.wsgi.WsgiToAsgi(app)
with_a2wsgi = a2wsgi.WSGIMiddleware(app)
with_starlette = starlette.middleware.wsgi.WSGIMiddleware(app)


async def wrapped(scope, receive, send):
    async def coroutine():
        return await receive()

    await with_a2wsgi(scope, coroutine, send)
END
in_box sh -eu >"$work/seen" <<'END'
status() {
    path=$1
    shift
    curl --silent --max-time 10 --output /dev/null --write-out '%{http_code}' "$@" "http://127.0.0.1:8000/$path"
}
serve() {
    name=$1
    shift
    "$@" >server.log 2>&1 &
    until curl --silent --fail --output /dev/null http://127.0.0.1:8000/; do :; done
    echo "$name: page $(status ''), form $(status form --data name=a)," \
        "JSON $(status json --header 'Content-Type: application/json' --data '{"name": "a"}'), POST unread $(status unread --data name=a)"
    kill $!
    wait $! || :
}
serve "uvicorn, a2wsgi" uvicorn --port 8000 app:with_a2wsgi
serve "hypercorn, a2wsgi" hypercorn --bind 127.0.0.1:8000 app:with_a2wsgi
serve "gunicorn, a2wsgi" gunicorn --no-control-socket --worker-class asgi --bind 127.0.0.1:8000 app:with_a2wsgi
serve "granian, a2wsgi" granian --interface asgi --port 8000 app:with_a2wsgi
sed -n 's/^TypeError/    TypeError/p' server.log | sort -u
serve "granian, a2wsgi, wrapped" granian --interface asgi --port 8000 app:wrapped
serve "granian, asgiref" granian --interface asgi --port 8000 app:with_asgiref
serve "granian, starlette" granian --interface asgi --port 8000 app:with_starlette
END
recorded <<'END'
uvicorn, a2wsgi: page 200, form 200, JSON 200, POST unread 200
hypercorn, a2wsgi: page 200, form 200, JSON 200, POST unread 200
gunicorn, a2wsgi: page 200, form 200, JSON 200, POST unread 200
granian, a2wsgi: page 200, form 500, JSON 500, POST unread 200
    TypeError: A coroutine object is required
granian, a2wsgi, wrapped: page 200, form 200, JSON 200, POST unread 200
granian, asgiref: page 200, form 200, JSON 200, POST unread 200
granian, starlette: page 200, form 200, JSON 200, POST unread 200
END

#!/bin/sh
# Early Hints (103) before each answer: wrk counts two answers for each request, Locust's HttpUser and siege the 103 alone.
#
# Guess, before the run: Go's hey and Locust's clients leave an interim answer out, as curl does. siege and wrk do not know it:
# siege takes it for the answer, wrk for one answer more.
# Seen: hey, h2load and FastHttpUser leave it out (but FastHttpUser's text was the page in one run and empty in another). wrk counts both,
# so that it reports twice the requests/s, and its latencies are those of half an answer. HttpUser (Python's http.client below it) returns
# 103 and an empty text, siege 103 and the real answer's head in its bytes, and both call that a success. (ab asks by HTTP/1.0: gunicorn
# sends it no 103.)
# Why it matters: a page that hints at its stylesheet is twice as fast by wrk as one that does not, and HttpUser's checks of the page
# find an empty one.
# shellcheck source-path=SCRIPTDIR source=common.sh
. "$(dirname "$0")/common.sh"
box "hey nghttp2-client siege wrk curl python3-venv" "gunicorn==27.0.1 flask==3.1.3 locust==2.47.0"

cat >"$work/app.py" <<'END'
from flask import Flask, request

app = Flask(__name__)
asked = 0


@app.get("/page")
def page():
    global asked
    asked += 1
    request.environ["wsgi.early_hints"]([("Link", "</site.css>; rel=preload; as=style")])
    return "the page\n"


@app.get("/asked")
def so_far():
    return str(asked)
END
cat >"$work/users.py" <<'END'
import gevent.monkey

gevent.monkey.patch_all()
from locust import FastHttpUser, HttpUser
from locust.env import Environment

for kind in (HttpUser, FastHttpUser):

    class User(kind):
        abstract = False
        host = "http://127.0.0.1:8000"

    answer = User(Environment(user_classes=[User])).client.get("/page")
    print(f"{kind.__name__}: {answer.status_code}, {'a success' if answer.ok else 'a failure'}")
END
in_box sh -eu >"$work/seen" <<'END'
gunicorn --no-control-socket --threads 4 --bind 127.0.0.1:8000 app:app 2>server.log &
until grep -q Booting server.log; do :; done
url=http://127.0.0.1:8000/page
asked() { curl --silent http://127.0.0.1:8000/asked; }
began=0
count() { # count NAME ANSWERS: beside how often the server was asked since the last count
    now=$(asked)
    echo "$1: asked $((now - began)), answers: $2"
    began=$now
}
count curl "$(curl --silent --output /dev/null --write-out '%{http_code}' $url)"
count hey "$(hey -n 4 -c 1 $url | sed -n 's/^ *\(\[.*\) responses/\1/p' | tr '\t' ' ')"
count h2load "$(h2load --h1 -n 4 -c 1 $url | sed -n 's/status codes: \([^,]*\),.*/\1/p')"
siege -b -r 4 -c 1 $url 2>&1 | sed -n 's/.*\(HTTP.1.1 [0-9]*\) .* secs: *\([0-9]* bytes\).*/times \1, \2/p' >siege
count siege "$(uniq -c siege | sed 's/^ *//')"
answers=$(wrk -t 1 -c 1 -d 1 $url | sed -n 's/ *\([0-9]*\) requests in.*/\1/p')
now=$(asked)
echo "wrk: answers for each time that the server was asked: $(((answers * 10 / (now - began) + 5) / 10))"
python users.py
END
recorded <<'END'
curl: asked 1, answers: 200
hey: asked 4, answers: [200] 4
h2load: asked 4, answers: 4 2xx
siege: asked 4, answers: 4 times HTTP/1.1 103, 161 bytes
wrk: answers for each time that the server was asked: 2
HttpUser: 103, a success
FastHttpUser: 200, a success
END

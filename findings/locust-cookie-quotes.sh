#!/bin/sh
# Locust: HttpUser sends a cookie back without the quotes in its value, so JSON in a cookie is no JSON any more; FastHttpUser does not.
#
# Guess, before the run: both users send each cookie back as it came, as curl does.
# Seen: Flask's set_cookie() writes a quote as \" in a quoted value. requests, under HttpUser, takes every \" out of such a value.
# FastHttpUser sends it unchanged. Met on the way, without a guess: FastHttpUser ignores the parameter cookies= without a word.
# Why it matters: a cookie with preferences or a basket as JSON works elsewhere and fails under load with HttpUser: errors of
# the test, not of the site. And a test moved to FastHttpUser that gave its session by cookies= measures the login page.
# shellcheck source-path=SCRIPTDIR source=common.sh
. "$(dirname "$0")/common.sh"
box "python3-venv curl" "locust==2.47.0 requests==2.34.2 geventhttpclient==2.6.1 gunicorn==27.0.1 flask==3.1.3"

cat >"$work/app.py" <<'END'
import json

from flask import Flask, make_response, request

app = Flask(__name__)


@app.get("/set")
def set_cookie():
    answer = make_response()
    answer.set_cookie("basket", json.dumps({"apples": 3}))
    return answer


@app.get("/show")
def show():
    return f"basket {request.cookies.get('basket')}, own {request.cookies.get('own')}"
END
cat >"$work/locustfile.py" <<'END'
import os

from locust import FastHttpUser, HttpUser, task


class User(FastHttpUser if os.environ["USER_CLASS"] == "FastHttpUser" else HttpUser):
    @task
    def once(self):
        self.client.get("/set")
        print("SEEN", os.environ["USER_CLASS"], self.client.get("/show", cookies={"own": "given"}).text, flush=True)
        self.environment.runner.quit()
END
in_box sh -eu >"$work/seen" <<'END'
gunicorn --no-control-socket --threads 2 --bind 127.0.0.1:8000 app:app >server.log 2>&1 &
until curl --silent --output /dev/null --cookie-jar jar http://127.0.0.1:8000/set; do :; done
echo "curl $(curl --silent --cookie jar --cookie own=given http://127.0.0.1:8000/show)"
for class in HttpUser FastHttpUser; do
    USER_CLASS=$class locust --headless --users 1 --host http://127.0.0.1:8000 --only-summary 2>&1 | sed -n 's/^SEEN //p'
done
END
recorded <<'END'
curl basket {"apples": 3}, own given
HttpUser basket {apples: 3}, own given
FastHttpUser basket {"apples": 3}, own None
END

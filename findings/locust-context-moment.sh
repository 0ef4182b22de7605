#!/bin/sh
# Locust: User.context() is asked before a request is sent by FastHttpUser, and after its answer came by HttpUser.
#
# Guess, before the run: both ask at the same moment, before the request is sent.
# Seen: with an answer that takes half a second, FastHttpUser's context is from before it, HttpUser's from after it.
# Why it matters: what context() reads from the user (the step of a journey, a time, a trace id for the log) belongs to this request with one
# class and to what was set meanwhile with the other; the same locustfile reports another thing after the class is changed.
# shellcheck source-path=SCRIPTDIR source=common.sh
. "$(dirname "$0")/common.sh"
box "python3-venv" "locust==2.47.0 geventhttpclient==2.6.1"

cat >"$work/server.py" <<'END'
import http.server
import time


class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        if self.path == "/slow":
            time.sleep(0.5)
        self.send_response(200)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *arguments):
        pass


http.server.ThreadingHTTPServer(("127.0.0.1", 8000), Handler).serve_forever()
END
cat >"$work/locustfile.py" <<'END'
import os
import time

from locust import FastHttpUser, HttpUser, events, task


class User(FastHttpUser if os.environ["USER_CLASS"] == "FastHttpUser" else HttpUser):
    def context(self):
        return {"asked": time.perf_counter()}

    @task
    def one(self):
        self.client.get("/slow")
        self.environment.runner.quit()


@events.request.add_listener
def request(context, response_time, **kwargs):
    middle = time.perf_counter() - response_time / 2000
    print(f"SEEN {os.environ['USER_CLASS']}: context() is asked {'before' if context['asked'] < middle else 'after'} the answer", flush=True)
END
in_box sh -eu >"$work/seen" <<'END'
python3 server.py &
until python3 -c 'import urllib.request; urllib.request.urlopen("http://127.0.0.1:8000/")' 2>/dev/null; do :; done
for class in HttpUser FastHttpUser; do
    USER_CLASS=$class locust --headless --users 1 --host http://127.0.0.1:8000 --only-summary >locust.log 2>&1 || :
    sed -n 's/^SEEN //p' locust.log
done
END
recorded <<'END'
HttpUser: context() is asked after the answer
FastHttpUser: context() is asked before the answer
END

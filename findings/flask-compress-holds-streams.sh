#!/bin/sh
# Flask-Compress holds a streamed page back until its end, for clients that take br, zstd or deflate; for gzip alone it does nothing.
#
# Guess, before the run: each coding is applied to streams, and each holds small pieces back.
# Seen: br, zstd and deflate do: nothing arrives before the last piece is made. A client that takes only gzip gets the stream at once,
# uncompressed: gzip is not among the codings for streams.
# Why it matters: progress pages and streamed JSON stand still in browsers (they take br or zstd, and deflate without TLS), while curl --header
# "Accept-Encoding: gzip" and a load test that asks for gzip show them flowing. COMPRESS_STREAMS = False lets them through.
# shellcheck source-path=SCRIPTDIR source=common.sh
. "$(dirname "$0")/common.sh"
box "python3-venv" "flask-compress==1.25 flask==3.1.3"

cat >"$work/app.py" <<'END'
import threading

from flask import Flask
from flask_compress import Compress

received = threading.Semaphore(0)


def create(**config):
    app = Flask(__name__)
    app.config.update(config)
    Compress(app)

    @app.get("/progress")
    def progress():
        def stream():
            passed = 0
            for number in range(3):
                yield f"step {number} {'.' * 2000}\n"
                passed += received.acquire(timeout=2)  # the client says that it has it
            yield f"{passed} of 3"

        return stream(), {"Content-Type": "text/html"}

    return app
END
cat >"$work/ask.py" <<'END'
import http.client
import threading
import zlib
from compression import zstd

import brotli
from app import create, received
from werkzeug.serving import make_server

DECODERS = {
    None: lambda: bytes,
    "gzip": lambda: zlib.decompressobj(31).decompress,
    "deflate": lambda: zlib.decompressobj().decompress,
    "br": lambda: brotli.Decompressor().process,
    "zstd": lambda: zstd.ZstdDecompressor().decompress,
}


def ask(what, port, coding):
    while received.acquire(blocking=False):
        pass
    client = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
    client.request("GET", "/progress", headers={"Accept-Encoding": coding})
    reply = client.getresponse()
    got = reply.getheader("Content-Encoding")
    decode, text, said = DECODERS[got](), b"", 0
    while part := reply.read1():
        text += decode(part)
        while said < text.count(b"\n"):
            said += 1
            received.release()
    print(f"{what}: coding {got}, {text.split(b'\n')[-1].decode()} steps arrived before the next was made")


for port, config in ((8001, {}), (8002, {"COMPRESS_STREAMS": False})):
    threading.Thread(target=make_server("127.0.0.1", port, create(**config), threaded=True).serve_forever, daemon=True).start()
for coding in ("gzip", "br", "zstd", "deflate"):
    ask(f"Accept-Encoding: {coding}", 8001, coding)
ask("Accept-Encoding: br, COMPRESS_STREAMS = False", 8002, "br")
END
in_box python3 ask.py >"$work/seen" 2>"$work/server.log"
recorded <<'END'
Accept-Encoding: gzip: coding None, 3 of 3 steps arrived before the next was made
Accept-Encoding: br: coding br, 0 of 3 steps arrived before the next was made
Accept-Encoding: zstd: coding zstd, 0 of 3 steps arrived before the next was made
Accept-Encoding: deflate: coding deflate, 0 of 3 steps arrived before the next was made
Accept-Encoding: br, COMPRESS_STREAMS = False: coding None, 3 of 3 steps arrived before the next was made
END

#!/bin/sh
# mtail: nginx's log lines, sent as datagrams to its unixgram:// or udp:// input, become one endless line: nothing is ever counted.
#
# Guess, before the run: each datagram is one line, as for every syslog daemon, rsyslog and syslog-ng among them.
# Seen: mtail takes what comes as a stream and looks for newlines. nginx's syslog messages have none, so that none of 100 requests is
# counted by either input; the same datagrams with a newline at the end are all counted. It prints nothing, and /metrics has a 0 to believe.
# Why it matters: access_log syslog: is nginx's way to hand its lines to a counter without a file, and a counter that stays 0 looks like
# a site without visitors. A file (--logs /var/log/nginx/access.log) is counted.
# shellcheck source-path=SCRIPTDIR source=common.sh
. "$(dirname "$0")/common.sh"
box "nginx mtail python3 curl"

cat >"$work/count.mtail" <<'END'
counter requests_total
/GET / {
  requests_total++
}
END
cat >"$work/nginx.conf" <<'END'
error_log /lab/error.log;
pid /tmp/nginx.pid;
events {}
http {
    server { listen 127.0.0.1:80; access_log syslog:server=unix:/tmp/unixgram; return 200; }
    server { listen 127.0.0.1:81; access_log syslog:server=127.0.0.1:5140; return 200; }
    server { listen 127.0.0.1:82; access_log /lab/access.log; return 200; }
}
END
cat >"$work/send.py" <<'END'
"""Sends 100 lines to unixgram://, each in a datagram of its own, with a newline at the end."""

import socket

with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender:
    sender.connect("/tmp/newline")
    for _ in range(100):
        sender.send(b"<190>Jan  1 00:00:00 web nginx: GET / HTTP/1.1\n")
END
in_box sh -eu >"$work/seen" <<'END'
touch access.log
start() {
    mtail --progs /lab/count.mtail --logs "$1" --port "$2" --address 127.0.0.1 >>mtail.log 2>&1 &
    until curl --silent --fail --output /dev/null "http://127.0.0.1:$2/metrics"; do :; done
}
counted() { curl --silent "http://127.0.0.1:$1/metrics" | sed -n 's/^requests_total{.*} //p'; }
start unixgram:///tmp/unixgram 3901
start udp://127.0.0.1:5140 3902
start /lab/access.log 3903
start unixgram:///tmp/newline 3904
until [ -S /tmp/unixgram ] && [ -S /tmp/newline ]; do :; done
nginx -c /lab/nginx.conf
for request in $(seq 100); do
    for port in 80 81 82; do curl --silent --fail --output /dev/null "http://127.0.0.1:$port/$request"; done
done
python3 send.py
# The two that count say when all had the time to be read.
until [ "$(counted 3903)" = 100 ] && [ "$(counted 3904)" = 100 ]; do :; done
echo "nginx to unixgram://: $(counted 3901) of 100"
echo "nginx to udp://: $(counted 3902) of 100"
echo "nginx to a file: $(counted 3903) of 100"
echo "the same with a newline to unixgram://: $(counted 3904) of 100"
END
recorded <<'END'
nginx to unixgram://: 0 of 100
nginx to udp://: 0 of 100
nginx to a file: 100 of 100
the same with a newline to unixgram://: 100 of 100
END

#!/bin/sh
# psycopg's binary wheel cannot use the system's CA certificates: sslrootcert=system looks where no system has any.
#
# Guess, before the run: sslmode=verify-full trusts the system's CAs, as every HTTP client does, at the latest with sslrootcert=system.
# Seen: without sslrootcert libpq wants ~/.postgresql/root.crt. With sslrootcert=system Debian's libpq connects, the wheel's own does not:
# the OpenSSL inside it looks under /usr/lib/psycopg-openssl. The path of the system's file, or SSL_CERT_FILE, helps.
# Why it matters: it is what managed databases ask for, and it works on the developer's machine as long as psycopg uses the system's libpq;
# the container with psycopg[binary] says "certificate verify failed" for a certificate that curl accepts.
# shellcheck source-path=SCRIPTDIR source=common.sh
. "$(dirname "$0")/common.sh"
box "ca-certificates libpq5 openssl python3-venv" "psycopg==3.3.9 psycopg-binary==3.3.9"

cat >"$work/server.py" <<'END'
import socketserver
import ssl


class Server(socketserver.StreamRequestHandler):
    """As PostgreSQL up to the log-in: TLS, then an error that says that the client came so far."""

    def handle(self):
        self.rfile.read(8)
        self.wfile.write(b"S")
        try:
            with tls.wrap_socket(self.connection, server_side=True) as client:
                client.recv(4096)
                fields = b"SFATAL\0C28000\0Mverified\0\0"
                client.sendall(b"E" + (4 + len(fields)).to_bytes(4) + fields)
        except OSError:
            pass  # the client refused the certificate


tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
tls.load_cert_chain("server.pem")
socketserver.TCPServer(("127.0.0.1", 5432), Server).serve_forever()
END
cat >"$work/ask.py" <<'END'
import psycopg

SYSTEM = "/etc/ssl/certs/ca-certificates.crt"
for root in ("", "sslrootcert=system", f"sslrootcert={SYSTEM}"):
    try:
        psycopg.connect(f"host=localhost user=app sslmode=verify-full {root}")
    except psycopg.OperationalError as error:
        text = str(error)
        known = ("verified", "certificate verify failed", "does not exist")
        print(f"{psycopg.pq.__impl__}, {root or 'nothing'}:", next((words for words in known if words in text), text))
END
in_box sh -eu >"$work/seen" 2>"$work/openssl.log" <<'END'
openssl req -x509 -newkey rsa:2048 -nodes -subj "/CN=a CA" -keyout ca.key -out /usr/local/share/ca-certificates/a.crt
openssl req -x509 -newkey rsa:2048 -nodes -subj "/CN=localhost" -addext subjectAltName=DNS:localhost -addext basicConstraints=CA:FALSE \
    -CA /usr/local/share/ca-certificates/a.crt -CAkey ca.key -keyout server.key -out server.crt
cat server.crt server.key >server.pem
update-ca-certificates >&2
python3 server.py &
echo "The wheel's OpenSSL: $(grep --text --only-matching --no-filename 'OPENSSLDIR: "[^"]*"' /venv/lib/python3*/site-packages/psycopg_binary.libs/libcrypto*)"
until openssl s_client -connect localhost:5432 -starttls postgres -verify_return_error; do :; done >&2 </dev/null
PSYCOPG_IMPL=python python3 ask.py
PSYCOPG_IMPL=binary python3 ask.py
echo "With SSL_CERT_FILE:"
SSL_CERT_FILE=/etc/ssl/certs/ca-certificates.crt PSYCOPG_IMPL=binary python3 ask.py
END
recorded <<'END'
The wheel's OpenSSL: OPENSSLDIR: "/usr/lib/psycopg-openssl"
python, nothing: does not exist
python, sslrootcert=system: verified
python, sslrootcert=/etc/ssl/certs/ca-certificates.crt: verified
binary, nothing: does not exist
binary, sslrootcert=system: certificate verify failed
binary, sslrootcert=/etc/ssl/certs/ca-certificates.crt: verified
With SSL_CERT_FILE:
binary, nothing: does not exist
binary, sslrootcert=system: verified
binary, sslrootcert=/etc/ssl/certs/ca-certificates.crt: verified
END

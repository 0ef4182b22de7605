# shellcheck shell=sh
# Part of nginx/render: the settings of TLS, and what follows from them. With TLS=off nothing of it is written.
# shellcheck disable=SC2034,SC2154 # read and set by render

tls_settings="TLS TLS_LISTEN TLS_CERTIFICATE TLS_KEY TLS_HSTS TLS_HTTP3 ACME_ROOT GATEWAY_TLS_PORT"
# shellcheck disable=SC2016 # names for envsubst, not values
tls_names='${ACME_ROOT} ${ALT_SVC} ${HSTS} ${REDIRECT_LISTEN_LINES} ${REDIRECT_PORT} ${TLS_CURVES} ${TLS_UNKNOWN_LISTEN_LINES}'

set_tls_defaults() {
    : "${TLS:=off}" "${GATEWAY_TLS_PORT:=8443}" "${TLS_HSTS:=off}" "${TLS_HTTP3:=off}" "${ACME_ROOT:=/run/acme}"
    : "${TLS_CERTIFICATE:=/run/tls/fullchain.pem}" "${TLS_KEY:=/run/tls/privkey.pem}"
    case $NGINX_RUNTIME in compose) : "${TLS_LISTEN:=8443}" ;; local) : "${TLS_LISTEN:=127.0.0.1:$GATEWAY_TLS_PORT}" ;; esac
}

check_tls_settings() {
    for name in TLS TLS_HTTP3; do
        eval "value=\$$name"
        case $value in on | off) ;; *) complain "$name=$value: neither on nor off; write $name=on or $name=off" ;; esac
    done
    is_port "$GATEWAY_TLS_PORT" || complain "GATEWAY_TLS_PORT=$GATEWAY_TLS_PORT: not a port; write a number from 1 to 65535, such as 8443"
    for name in TLS_CERTIFICATE TLS_KEY ACME_ROOT; do
        eval "value=\$$name"
        is_path "$value" || complain "$name=$value: not an absolute path without \", \\ and \$; write e.g. /run/tls/fullchain.pem"
    done
    check_list TLS_LISTEN "$TLS_LISTEN" is_listen "a port, address:port or [address]:port, such as 8443"
    for listen in $TLS_LISTEN; do
        case " $LISTEN $STATUS_LISTEN " in
            *[\ :]"${listen##*:} "*) complain "TLS_LISTEN: port ${listen##*:} is that of LISTEN or STATUS_LISTEN; give TLS a port of its own" ;;
        esac
    done
    check_hsts
    if [ "$TLS" = off ] && [ "$TLS_HTTP3" = on ]; then
        complain "TLS_HTTP3=on needs TLS: use compose/tls.yaml too, or leave it out"
    fi
}

# A browser that has seen it refuses plain HTTP for that long, whatever becomes of the certificate: nobody can take it back.
check_hsts() {
    hsts_age=${TLS_HSTS%% *} hsts_words=${TLS_HSTS#"$hsts_age"}
    [ "$TLS_HSTS" != off ] || return 0
    right="write off, or seconds such as 63072000, with the words includeSubDomains and preload after them where they are meant"
    is_within "$hsts_age" 0 999999999 || complain "TLS_HSTS=$TLS_HSTS: $right"
    for word in $hsts_words; do
        case $word in includeSubDomains | preload) ;; *) complain "TLS_HSTS=$TLS_HSTS: '$word' is no word of it; $right" ;; esac
    done
    case $hsts_words in
        *preload*)
            case $hsts_words in *includeSubDomains*) ;; *) complain "TLS_HSTS=$TLS_HSTS: preload is for sites with includeSubDomains" ;; esac
            ;;
    esac
}

generate_tls() {
    HSTS='' ALT_SVC='' REDIRECT_LISTEN_LINES='' REDIRECT_PORT='' TLS_CURVES='' TLS_UNKNOWN_LISTEN_LINES=''
    # Also without TLS here: a load balancer may end it, and says so in X-Forwarded-Proto.
    [ "$TLS_HSTS" = off ] || HSTS="max-age=$hsts_age$(printf '%s' "$hsts_words" | sed 's/  */; /g')"
    [ "$TLS" = on ] || return 0
    [ "$GATEWAY_TLS_PORT" = 443 ] || REDIRECT_PORT=:$GATEWAY_TLS_PORT
    REDIRECT_LISTEN_LINES=$LISTEN_LINES
    words=' ssl' http2='    http2 on;'
    # "listen … http2" is the old way to say it.
    ! older_than 1.25.1 || { words=' ssl http2' && http2=''; }
    # Who names no host in the handshake asked for an address: served where SERVER_NAMES has one, else refused like an unknown host.
    first='' second=' default_server'
    ! has_address_name || { first=' default_server' && second=''; }
    # shellcheck disable=SC2086 # lists are split at spaces on purpose; globbing is off
    {
        LISTEN_LINES=$(each "    listen @$first$words;" $TLS_LISTEN && echo "$http2")
        TLS_UNKNOWN_LISTEN_LINES=$(each "    listen @$second$words;" $TLS_LISTEN && echo "$http2")
        [ "$TLS_HTTP3" = off ] || generate_http3
    }
    TLS_CURVES=X25519:prime256v1:secp384r1
    ! knows_hybrid_keys || TLS_CURVES=X25519MLKEM768:$TLS_CURVES
}

generate_http3() {
    older_than 1.30.1 && refuse "TLS_HTTP3=on: nginx $NGINX_VERSION is too old; 1.30.1 closes the known holes of its QUIC (CVE-2026-40460)"
    # shellcheck disable=SC2086 # as above
    {
        LISTEN_LINES="$LISTEN_LINES
$(each "    listen @$first quic reuseport;" $TLS_LISTEN)"
        TLS_UNKNOWN_LISTEN_LINES="$TLS_UNKNOWN_LISTEN_LINES
$(each "    listen @$second quic;" $TLS_LISTEN)"
    }
    ALT_SVC="h3=\":$GATEWAY_TLS_PORT\"; ma=86400"
}

has_address_name() {
    for name in $SERVER_NAMES; do ! is_address "$name" || return 0; done
    return 1
}

# Keys that a later quantum computer cannot read either; with an older library nginx would not start. Another machine's: by its nginx.
knows_hybrid_keys() {
    library=$("$NGINX_BINARY" -V 2>&1 | sed -n 's/.*with OpenSSL \([0-9]*\.[0-9]*\).*/\1/p' | tail -n 1) || library=
    case $library in
        3.[5-9] | 3.[1-9][0-9] | [4-9].*) return 0 ;;
        ?*) return 1 ;;
    esac
    ! older_than 1.28.0
}

# The copies that nginx reads. Rendering for another machine (NGINX_VERSION given) asks for no certificate.
install_certificate() {
    [ "$TLS" = on ] && [ -z "$elsewhere" ] || return 0
    command -v openssl >/dev/null || refuse "openssl not found: install it, the certificate cannot be checked without it"
    # shellcheck disable=SC2086 # a list
    "$here/certificate" install "$TLS_CERTIFICATE" "$TLS_KEY" "$NGINX_PREFIX/tls" $SERVER_NAMES || exit 2
}

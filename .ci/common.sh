# shellcheck shell=bash
# shellcheck disable=SC2034  # the variables are used by the scripts that source this file
# Sourced by the scripts beside it: where things live, how progress is said, what they share about Debian.

ci_home=${FLASK_KIT_CI_HOME:-/var/lib/flask-kit-ci}    # engine binaries and the engine's data
ci_cache=${FLASK_KIT_CI_CACHE:-/var/cache/flask-kit-ci} # base images; may be kept between machines
ci_run=${FLASK_KIT_CI_RUN:-/run/flask-kit-ci}          # pid file, lock, logs of the steps under way
suite=forky                                             # Debian suite of the engine and of the base images

say() {
    printf 'ci: %s\n' "$*" >&2
}

die() {
    say "$*"
    exit 1
}

# step TEXT COMMAND…: runs it, says how long it took; its output is shown only when it fails.
# The command runs as a background job: in a condition (`if command`) bash would ignore `set -e` inside it.
step() {
    local text=$1 begin=$SECONDS status=0 log
    shift
    mkdir -p "$ci_run"
    log=$(mktemp "$ci_run/step.XXXXXX")
    "$@" >"$log" 2>&1 </dev/null &
    wait $! || status=$?
    if ((status)); then
        tail -n 40 "$log" >&2
        say "$text: FAILED (exit $status) after $((SECONDS - begin)) s"
    else
        say "$text: $((SECONDS - begin)) s"
    fi
    rm -f "$log"
    return "$status"
}

# Prints the version of the engine that answers; fails when none does.
engine_version() {
    docker version --format '{{.Server.Version}}' 2>/dev/null
}

apt_install() {
    local package
    local -a missing=()
    for package in "$@"; do
        [[ $(dpkg-query -W -f '${db:Status-Status}' "$package" 2>/dev/null) == installed ]] || missing+=("$package")
    done
    ((${#missing[@]})) || return 0
    # A third-party source that does not answer must not end CI; Debian's own missing shows at the install.
    apt-get update || say "apt-get update was not complete"
    DEBIAN_FRONTEND=noninteractive apt-get -o DPkg::Lock::Timeout=120 \
        install -y --no-install-recommends "${missing[@]}"
}

# Prints the Debian mirror this machine is configured for, so that none is written down here; nothing where the
# machine is not Debian. The label is known only once the indices were fetched.
debian_mirror() {
    local uri
    grep -qx 'ID=debian' /etc/os-release || return 0
    uri=$(main_archive)
    if [[ -z $uri ]]; then
        apt-get update >/dev/null 2>&1 || true
        uri=$(main_archive)
    fi
    [[ -n $uri ]] || die "apt on this machine has no Debian mirror configured; add Debian's main archive to its sources"
    printf '%s\n' "${uri%/}"
}

main_archive() {
    # shellcheck disable=SC2016  # apt fills this in
    apt-get indextargets --format '$(REPO_URI)' 'Created-By: Packages' 'Label: Debian' | sed -n 1p
}

# Prints the machine's own ways of fetching (proxy, date checks, …), one apt setting per line.
apt_fetch_settings() {
    apt-config dump | grep -E '^Acquire::(http|https|Check-Valid-Until|Check-Date|Retries)\b.* "[^"]+";$' || true
}

((EUID == 0)) || die "run as root: an engine is installed and started if none answers"

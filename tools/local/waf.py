"""The WAF as a plain process: the files of its image at other places, for nginx and the ModSecurity module of this machine."""

import re
import shutil
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from tools.local import nginx
from tools.local.nginx import HOST, Edit, Nginx

MODULE = "ngx_http_modsecurity_module.so"
RULES = Path("/usr/share/modsecurity-crs/rules")


def lacks(program: Nginx, settings: Mapping[str, str]) -> str:
    """What this machine lacks for the WAF, as a sentence; "" when nothing."""
    if MODULE not in program.modules:
        return "nginx here has no module for it (apt-get install libnginx-mod-http-modsecurity modsecurity-crs jq)"
    if not settings.get("WAF_RULES_DIR") and not RULES.is_dir():
        return "there are no rules (apt-get install modsecurity-crs)"
    return "" if shutil.which("jq") else "jq is missing, which prints what was refused (apt-get install jq)"


def write(
    dest: Path,
    *,
    program: Nginx,
    run: Path,
    ports: Sequence[int],
    upstreams: Sequence[str],
    edits: Iterable[Edit] = (),
    as_root: bool = False,
) -> list[str]:
    """Write the WAF's configuration, with temp files in `run`; `ports` are those for requests, for status, and for its own use."""
    public, status, *own = ports
    here = [
        *nginx.listen({8080: public, 8081: status}),
        *nginx.servers("app", upstreams),
        *(Edit("**/*", rf"{HOST}:{port}\b", f"{HOST}:{here}") for port, here in zip((8082, 8083), own, strict=True)),
        *(Edit("self-test", rf"{HOST}:{port}\b", f"{HOST}:{here}") for port, here in ((8080, public), (8081, status))),
        # A container gets its own settings; here all processes have all of them, and these are the gateway's.
        Edit("docker-entrypoint.d/12-check-settings.sh", r"^part (load-balancers|maintenance|tls|url-prefix) .*\n", ""),
        Edit("nginx.conf", r"^load_module modules/(.*);", rf'load_module "{program.modules_folder}/\1";'),
        *_for_old_module(Path(program.modules_folder) / MODULE),
    ]
    return nginx.write("waf", dest, nginx=program, places={"/run/nginx": run}, edits=[*here, *edits], as_root=as_root)


def _for_old_module(module: Path) -> list[Edit]:
    """Before 1.0.4 the module forgets on the way to an error page that a request was inspected, and writes no audit line of it.

    So there it inspects again (audit.jq prints what is then said twice once). On that way every method is GET: a body is no
    reason to refuse then (920170).
    """
    if not module.exists() or not re.search(rb"ModSecurity-nginx v1\.0\.[0-3]", module.read_bytes()):
        return []
    return [
        Edit("snippets/errors.conf", r"^    internal;", "    internal;\n    modsecurity on;\n    recursive_error_pages off;"),
        Edit("conf.d/50-waf.conf", r"^        auth_request .*", r"\g<0>\n        recursive_error_pages off;"),
        Edit("rules/exclusions.conf", r"\Z", "\nSecRuleRemoveById 920170\n"),
    ]

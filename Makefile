# Every target makes what it needs: a virtual environment in .venv from requirements/, and programs by apt-get where that
# is allowed (as root on Debian; STACK_INSTALL=0 forbids it). RUNTIME=compose or RUNTIME=local overrides the choice.
# `## ` lists a target in `make help`, `#: ` in `make help-all` alone.
.DEFAULT_GOAL := help
PYTHON := .venv/bin/python
IN_VENV = PATH="$(CURDIR)/.venv/bin:$$PATH"
# PROJECT=../myservice: an ejected project, for every target of the site and the doctor
project = $(if $(PROJECT), --project "$(PROJECT)")
STACK = $(PYTHON) -m tools.stack$(project)
# $(call need,NAME,an example): ends make with one line when NAME is not given
need = $(if $($(1)),,$(error $(1) is not given: make $@ $(1)=$(2)))

.PHONY: help
help:
	@awk -F'"' '/^version = / {print "Flask deployment kit " $$2 ". More: make help-all"}' pyproject.toml
	@awk -F':.*## ' '/^[a-z-]+:.*## / {printf "  make %-8s  %s\n", $$1, $$2}' Makefile

.PHONY: help-all
help-all:
	@awk -F':.*#[#:] ' '/^[a-z-]+:.*#[#:] / {printf "  make %-16s  %s\n", $$1, $$2}' Makefile | sort

# --- The site ---------------------------------------------------------------------------------------------------------

.PHONY: up
up: venv ## Start everything and wait until it answers
	@$(STACK) up

.PHONY: down
down: venv ## Stop everything; the database and the generated secrets are kept
	@$(STACK) down

.PHONY: logs
logs: venv ## Follow what the services write (Ctrl-C ends it)
	@$(STACK) logs --follow

.PHONY: status
status: venv ## List what runs
	@$(STACK) status

.PHONY: rollout
rollout: venv ## Replace the app's containers by a new version without a gap [ARGS="--plan"] (docs/releases.md)
	@$(STACK) rollout $(ARGS)

.PHONY: rollback
rollback: venv ## Go back to the version that the last rollout replaced
	@$(STACK) rollback

.PHONY: scale
scale: venv ## Run so many app containers: make scale REPLICAS=5
	@$(call need,REPLICAS,5)$(STACK) scale app "$(REPLICAS)"

.PHONY: backup
backup: venv ## Write the database to a file, while the site runs [FILE=...] [AT="2026-12-02 16:00:00+00": as it was then]
	@$(STACK) backup $(if $(AT),--at "$(AT)") $(FILE)

.PHONY: restore
restore: venv ## Restore the database from a backup: make restore FILE=... [ARGS=--yes]
	@$(call need,FILE,backups/...)$(STACK) restore $(ARGS) "$(FILE)"

.PHONY: failover
failover: venv #: Make the database's replica the primary, and the primary its replica [ARGS=--yes] (docs/database.md)
	@$(STACK) failover $(ARGS)

.PHONY: rotate-secret
rotate-secret: venv #: Sign the sessions with another key, without signing anybody out [ARGS=--finish] (docs/operating.md)
	@$(STACK) rotate-secret $(ARGS)

.PHONY: maintenance
maintenance: venv #: Answer 503 with a page while you work on the site: make maintenance on, make maintenance off (docs/operating.md)
	@$(STACK) maintenance $(or $(filter on off,$(MAKECMDGOALS)),$(error right is make maintenance on or make maintenance off))
on off: maintenance
	@:

.PHONY: swarm swarm-down swarm-deploy swarm-file
swarm: venv #: Make three Swarm nodes in containers on this machine, for trying, and deploy to them (docs/swarm.md)
	@$(PYTHON) -m tools.swarm up
swarm-down: venv #: Take those three nodes away, with all that ran on them
	@$(PYTHON) -m tools.swarm down
swarm-deploy: venv #: Deploy to the Swarm of this shell's docker (DOCKER_HOST, docker context) and wait for it (docs/swarm.md)
	@$(PYTHON) -m tools.swarm deploy
swarm-file: venv #: Print what `docker stack deploy` is given, and what Swarm does not do
	@$(PYTHON) -m tools.swarm file

.PHONY: waf-report
waf-report: venv #: List by rule what the WAF refused, with lines that let it pass (LOG=file), or prove them for one request (REQUEST=file)
	@$(if $(REQUEST),$(PYTHON) -m tools.waf_prove $(REQUEST),$(if $(LOG),tools/waf_report.py $(LOG),log=$$($(STACK) logs waf) && printf '%s\n' "$$log" | tools/waf_report.py))

.PHONY: dev-certificate
dev-certificate: #: Make a self-signed certificate for development in tls/ (NAMES="localhost 127.0.0.1"), for TLS_DIR=./tls
	@mkdir -p tls && nginx/certificate make tls $(or $(NAMES),localhost 127.0.0.1 [::1]) && chmod 644 tls/privkey.pem

# --- Checks -----------------------------------------------------------------------------------------------------------

.PHONY: doctor
doctor: venv ## Check that the configuration files and the running stack agree
	@$(PYTHON) -m tools.doctor$(project) $(ARGS)

.PHONY: test
test: venv-test ## Run linters and all tests that this machine can run (ARGS="tests/nginx -k limits": only these)
	@$(IN_VENV) tests/run $(ARGS)

.PHONY: servers
servers: venv-test #: Test every server of servers/ behind the gateway (about 10 minutes; docs/servers.md)
	@$(IN_VENV) SERVERS="$(or $(SERVERS),$(patsubst servers/%/server.toml,%,$(wildcard servers/*/server.toml)))" python -m pytest tests/servers $(ARGS)

.PHONY: lint
lint: venv-test ## Check the sources, the configuration, the images' recipes and the budgets of size
	@$(IN_VENV) tests/lint

.PHONY: lint-images
lint-images: venv-test #: Check Dockerfiles, and Compose files for secrets, with checkov (docs/updates.md names what is left out)
	@$(IN_VENV) uvx --quiet checkov==3.3.30 --compact --quiet --skip-download --framework dockerfile secrets \
		--file $(wildcard */Dockerfile */*/Dockerfile) docker-compose.yml compose/*.yaml --skip-check CKV_DOCKER_2,CKV_DOCKER_7

.PHONY: tls-scan
tls-scan: venv-test #: Scan the site over TLS with testssl.sh: no finding above LOW (about 2 minutes)
	@$(IN_VENV) python -m tools.stack install testssl
	@$(IN_VENV) python -m pytest -m bench tests/tls/test_scan.py

.PHONY: sbom
sbom: venv-test #: List what the images consist of, in sbom/ (CycloneDX for Python, Debian's packages)
	@$(IN_VENV) tools/supply/sbom

.PHONY: audit
audit: venv-test #: Check the locked Python packages for known vulnerabilities; exit code 2 when nothing could be compared
	@$(IN_VENV) tools/supply/audit

.PHONY: lock
lock: venv-test #: Lock the dependencies of pyproject.toml anew [ARGS="--upgrade-package flask"]
	@$(IN_VENV) requirements/lock $(ARGS)

.PHONY: clean
clean: #: Remove the virtual environment and the caches (the data of stacks is kept)
	rm -rf .venv .mypy_cache .pytest_cache .ruff_cache .hypothesis tests/artifacts

# --- Copying ----------------------------------------------------------------------------------------------------------

.PHONY: eject
eject: ## Copy the kit into a project: make eject DEST=../myservice APP_MODULE=package.module:app [ARGS="--help"]
	@python3 tools/eject.py $(ARGS) "$(DEST)" "$(APP_MODULE)"

.PHONY: eject-matrix
eject-matrix: venv-test #: Start, check, release and save an ejected project of each form (about 10 minutes)
	@$(IN_VENV) python -m pytest -m "bench or not bench" tests/eject/test_matrix.py

# --- Measuring --------------------------------------------------------------------------------------------------------
# PROFILE=smoke|quick|full  RUNTIME=compose|local  APP=package.module:app  SCENARIO=path/to/locustfile.py
# ARGS="--plan" and others: docs/loadtest.md
LOADTEST = $(PYTHON) -m loadtest
given = $(if $($(1)),--$(2) "$($(1))")

.PHONY: loadtest
loadtest: venv-loadtest ## Compare worker classes on this machine (PROFILE=smoke|quick|full, ARGS=--plan: only say how long)
	@$(LOADTEST) run $(call given,PROFILE,profile) $(call given,RUNTIME,runtime) $(call given,APP,app) $(call given,SCENARIO,scenario) $(ARGS)

.PHONY: report
report: venv-loadtest ## Write the report of a load test again: make report RUN=loadtest/results/...
	@$(call need,RUN,loadtest/results/...)$(LOADTEST) report "$(RUN)"

.PHONY: loadtest-diff
loadtest-diff: venv-loadtest #: Compare two load tests: make loadtest-diff A=... B=...
	@$(call need,A,loadtest/results/... B=loadtest/results/...)$(call need,B,loadtest/results/...)$(LOADTEST) diff "$(A)" "$(B)"

.PHONY: loadtest-ui
loadtest-ui: venv-loadtest #: Run the load test's scenarios by hand, in Locust's web interface on http://127.0.0.1:8089
	@$(PYTHON) -m locust -f loadtest/locustfile.py --class-picker --web-host 127.0.0.1 $(ARGS)

.PHONY: trial
trial: venv-test #: Try the load test on servers with a known, injected difference (ARGS="--runs 20")
	@$(PYTHON) -m tests.loadtest.trial $(ARGS)

.PHONY: chaos
chaos: venv-test #: Inject faults under load, and draw what they cost [ARGS="--plan"] (docs/faults.md)
	@$(PYTHON) -m tools.reliability chaos $(ARGS)

.PHONY: releases
releases: venv-test #: Release in every way under load, and count what failed [ARGS="--plan"] (docs/releases.md)
	@$(PYTHON) -m tools.reliability releases $(ARGS)

.PHONY: overload
overload: venv-test #: Send three times what the site can answer, and measure what it still answers [ARGS="--plan"] (docs/limits.md)
	@$(PYTHON) -m tools.reliability overload $(ARGS)

.PHONY: soak
soak: venv-test #: Load the site for 20 minutes with workers recycled and a rollout every minute: does anything grow? [ARGS="--plan"]
	@$(PYTHON) -m tools.reliability soak $(ARGS)

.PHONY: overview
overview: venv-loadtest #: Write what Prometheus knows as a page, overview.html [ARGS="--minutes 600"] (docs/metrics.md)
	@$(PYTHON) -m tools.boards overview $(ARGS)

.PHONY: dashboards
dashboards: venv-test #: Write Grafana's dashboards, docs/dashboards/, from tools/boards
	@$(PYTHON) -m tools.boards dashboards

.PHONY: applications
applications: venv-test #: Run other people's applications on the kit, in a browser (docs/applications.md)
	@$(IN_VENV) python -m pytest tests/applications/test_flask_appbuilder.py tests/applications/more.py $(ARGS)

.PHONY: swarm-events
swarm-events: venv-test #: Update, scale, drain, kill and cut off nodes of a Swarm under load, and count what failed (about 12 minutes)
	@$(IN_VENV) python -m pytest -m bench tests/swarm $(ARGS)

.PHONY: bench-waf
bench-waf: venv-test #: Measure what the WAF costs: with this machine's nginx, or with images (IMAGES="flask-kit-gateway flask-kit-waf")
	@$(IN_VENV) python -m tests.waf.bench $(IMAGES)

.PHONY: bench-site
bench-site: venv-test #: Measure the CPU of a request beside another revision and a bare Flask view [AGAINST=HEAD] (about 3 minutes)
	@$(IN_VENV) python -m tests.app.bench --against "$(or $(AGAINST),HEAD)" $(ARGS)

.PHONY: bench-parts
bench-parts: venv-test #: Measure how much of a request is nginx, WAF, gunicorn, Flask, template, database; needs wrk (IMAGES as for bench-waf)
	@$(IN_VENV) python -m tests.app.parts $(IMAGES)

.PHONY: bench-gateway
bench-gateway: venv-test #: Measure a request through gateway and WAF against a plain nginx and gunicorn alone; needs wrk (IMAGES as for bench-waf)
	@$(IN_VENV) python -m tests.nginx.bench $(IMAGES)

.PHONY: bench-peers
bench-peers: venv-test #: Measure the site beside nginx and uWSGI as many have them; needs wrk, and root (SERVERS="gunicorn granian uwsgi uwsgi-pass")
	@$(IN_VENV) python -m tests.servers.bench peer $(or $(SERVERS),gunicorn granian uwsgi uwsgi-pass)

.PHONY: waf-differential
waf-differential: venv-test #: Compare the WAF's rules as loaded with those written, on 100,000 generated values (ARGS="--rules FOLDER")
	@$(IN_VENV) python -m tests.waf.differential $(ARGS)

.PHONY: bench-generator
bench-generator: venv-test #: Measure what the load generator costs beside Locust's own closed loop (about 2 minutes)
	@$(IN_VENV) python -m pytest -m bench tests/loadtest/test_generator_figures.py

.PHONY: flood
flood: venv-test #: Measure what 10,000 requests of one client cost the others and the server (about 9 minutes)
	@$(IN_VENV) python -m pytest -m bench tests/limits/test_flood_figures.py

.PHONY: slow-attacks
slow-attacks: venv-test #: Attack the site with slowhttptest, four modes with 1,000 connections each (about 6 minutes)
	@$(IN_VENV) python -m tools.stack install slowhttptest
	@$(IN_VENV) python -m pytest -m bench tests/limits/test_slow_attacks.py

# --- Virtual environments ---------------------------------------------------------------------------------------------

.PHONY: venv venv-test venv-loadtest
venv:
	@requirements/venv stack
venv-test:
	@requirements/venv test
venv-loadtest:
	@requirements/venv loadtest

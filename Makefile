# Every target makes what it needs: a virtual environment in .venv from requirements/, and programs by apt-get where that
# is allowed (as root on Debian; STACK_INSTALL=0 forbids it). RUNTIME=compose or RUNTIME=local overrides the choice.
PYTHON_IN_VENV := .venv/bin/python

# What `up` and its like run instead of plain Compose: they choose the runtime and say which.
UP = $(PYTHON_IN_VENV) -m tools.stack up
DOWN = $(PYTHON_IN_VENV) -m tools.stack down
LOGS = $(PYTHON_IN_VENV) -m tools.stack logs --follow
STATUS = $(PYTHON_IN_VENV) -m tools.stack status
DOCTOR = $(PYTHON_IN_VENV) -m tools.doctor
WAF_LOGS = $(PYTHON_IN_VENV) -m tools.stack logs gateway
ROLLOUT = $(PYTHON_IN_VENV) -m tools.stack rollout
NEEDS = venv
include deploy.mk

.PHONY: test
test: venv-test ## Run linters and tests, all that this machine can show (ARGS="tests/nginx -k limits": only these)
	@PATH="$(CURDIR)/.venv/bin:$$PATH" tests/run $(ARGS)

.PHONY: lint
lint: venv-test ## Check the sources, the rendered configuration and the images' recipes
	@PATH="$(CURDIR)/.venv/bin:$$PATH" tests/lint

.PHONY: dev-certificate
dev-certificate: ## Make a self-signed certificate for development in tls/ (NAMES="localhost 127.0.0.1"), for TLS_DIR=./tls
	@mkdir -p tls && nginx/certificate make tls $(or $(NAMES),localhost 127.0.0.1 [::1]) && chmod 644 tls/privkey.pem

.PHONY: tls-scan
tls-scan: venv-test ## Hold the TLS variant against testssl.sh: no finding above LOW (about 2 minutes)
	@PATH="$(CURDIR)/.venv/bin:$$PATH" python -m tools.stack install testssl
	@PATH="$(CURDIR)/.venv/bin:$$PATH" python -m pytest -m bench tests/tls/test_scan.py

.PHONY: sbom
sbom: venv-test ## List what the images consist of, in sbom/ (CycloneDX for Python, Debian's packages)
	@PATH="$(CURDIR)/.venv/bin:$$PATH" tools/supply/sbom

.PHONY: audit
audit: venv-test ## Hold the locked Python packages against known holes; exit code 2 when nothing could be compared
	@PATH="$(CURDIR)/.venv/bin:$$PATH" tools/supply/audit

.PHONY: lint-images
lint-images: venv-test ## Check Dockerfiles, and Compose files for secrets, with checkov (docs/updates.md says what is left out, and why)
	@PATH="$(CURDIR)/.venv/bin:$$PATH" uvx --quiet checkov==3.3.30 --compact --quiet --skip-download --framework dockerfile secrets \
		--file app/Dockerfile nginx/Dockerfile nginx/acme/Dockerfile docker-compose.yml compose/*.yaml --skip-check CKV_DOCKER_2,CKV_DOCKER_7

.PHONY: eject
eject: ## Copy what a project needs: make eject DEST=../myservice APP_MODULE=package.module:app [ARGS="--help"]
	@requirements/venv eject
	@PATH="$(CURDIR)/.venv/bin:$$PATH" python -m tools.eject $(ARGS) "$(DEST)" "$(APP_MODULE)"

# PROFILE=smoke|quick|full  RUNTIME=compose|local  APP=package.module:app  SCENARIO=path/to/locustfile.py  RESUME=folder
# ARGS="--plan" and others: docs/loadtest.md
LOADTEST = .venv/bin/python -m loadtest
given = $(if $($(1)),--$(2) "$($(1))")
LOADTEST_WISHES = $(call given,PROFILE,profile) $(call given,RUNTIME,runtime) $(call given,APP,app) $(call given,SCENARIO,scenario) $(call given,RESUME,resume)

.PHONY: loadtest
loadtest: venv-loadtest ## Compare gunicorn's worker classes on this machine (PROFILE=smoke|quick|full, ARGS=--plan: only say how long)
	@$(LOADTEST) run $(LOADTEST_WISHES) $(ARGS)

.PHONY: report
report: venv-loadtest ## Draw the report of a load test again: make report RUN=loadtest/results/...
	@$(LOADTEST) report "$(RUN)"

.PHONY: loadtest-diff
loadtest-diff: venv-loadtest ## Compare two load tests: make loadtest-diff A=... B=...
	@$(LOADTEST) diff "$(A)" "$(B)"

.PHONY: loadtest-ui
loadtest-ui: venv-loadtest ## Run the load test's scenarios by hand, in Locust's web interface on http://127.0.0.1:8089
	@.venv/bin/python -m locust -f loadtest/locustfile.py --class-picker --web-host 127.0.0.1 $(ARGS)

.PHONY: trial
trial: venv-test ## Try the load test itself on servers whose truth is planted, in its long form (ARGS="--runs 20")
	@.venv/bin/python -m tests.loadtest.trial $(ARGS)

.PHONY: rollback
rollback: venv ## Go back to the version that the last rollout replaced
	@$(PYTHON_IN_VENV) -m tools.stack rollback

.PHONY: scale
scale: venv ## Run so many app containers, without taking processors from those that serve: make scale REPLICAS=5
	@$(if $(REPLICAS),,$(error REPLICAS is not given: make scale REPLICAS=5))$(PYTHON_IN_VENV) -m tools.stack scale app "$(REPLICAS)"

.PHONY: chaos
chaos: venv-test ## Inject faults under load, and draw what they cost [ARGS="--plan"] (docs/faults.md)
	@$(PYTHON_IN_VENV) -m tools.reliability chaos $(ARGS)

.PHONY: releases
releases: venv-test ## Release in every way under load, and count what failed [ARGS="--plan"] (docs/releases.md)
	@$(PYTHON_IN_VENV) -m tools.reliability releases $(ARGS)

.PHONY: overload
overload: venv-test ## Ask for three times what the site can answer: what is left of it? [ARGS="--plan"] (docs/limits.md)
	@$(PYTHON_IN_VENV) -m tools.reliability overload $(ARGS)

.PHONY: soak
soak: venv-test ## Visit for 20 minutes with workers recycled and a rollout every minute: does anything grow? [ARGS="--plan"]
	@$(PYTHON_IN_VENV) -m tools.reliability soak $(ARGS)

.PHONY: backup
backup: venv ## Write the database to a file, while the site runs [FILE=...]
	@$(PYTHON_IN_VENV) -m tools.stack backup $(FILE)

.PHONY: restore
restore: venv ## Put the database back to what a backup holds: make restore FILE=... [ARGS=--yes]
	@$(PYTHON_IN_VENV) -m tools.stack restore $(ARGS) "$(FILE)"

.PHONY: bench-waf
bench-waf: venv-test ## Measure what the firewall costs nginx: this machine's, or an image's (IMAGE=flask-kit-gateway)
	@PATH="$(CURDIR)/.venv/bin:$$PATH" python -m tests.waf.bench $(IMAGE)

.PHONY: flood
flood: venv-test ## Measure what 10,000 requests of one client cost the others and the server (about 9 minutes)
	@PATH="$(CURDIR)/.venv/bin:$$PATH" python -m pytest -m bench tests/limits/test_flood_figures.py

.PHONY: slow-attacks
slow-attacks: venv-test ## Attack the site with slowhttptest, four modes with 1,000 connections each (about 6 minutes)
	@PATH="$(CURDIR)/.venv/bin:$$PATH" python -m tools.stack install slowhttptest
	@PATH="$(CURDIR)/.venv/bin:$$PATH" python -m pytest -m bench tests/limits/test_slow_attacks.py

.PHONY: bench-generator
bench-generator: venv-test ## Measure what the load generator costs beside Locust's own closed loop (about 2 minutes)
	@PATH="$(CURDIR)/.venv/bin:$$PATH" python -m pytest -m bench tests/loadtest/test_generator_figures.py

.PHONY: lock
lock: venv-test ## Lock the dependencies of pyproject.toml anew
	@PATH="$(CURDIR)/.venv/bin:$$PATH" requirements/lock $(ARGS)

.PHONY: clean
clean: ## Remove the virtual environment and the caches (the data of stacks stays)
	rm -rf .venv .mypy_cache .pytest_cache .ruff_cache .hypothesis tests/artifacts

.PHONY: venv venv-test venv-loadtest
venv-loadtest:
	@requirements/venv loadtest
venv:
	@requirements/venv stack
venv-test:
	@requirements/venv test

# Every target makes what it needs: a virtual environment in .venv from requirements/, and programs by apt-get where that
# is allowed (as root on Debian; STACK_INSTALL=0 forbids it). RUNTIME=compose or RUNTIME=local overrides the choice.
PYTHON_IN_VENV := .venv/bin/python

# What `up` and its like run instead of plain Compose: they choose the runtime and say which.
UP = $(PYTHON_IN_VENV) -m stack up
DOWN = $(PYTHON_IN_VENV) -m stack down
LOGS = $(PYTHON_IN_VENV) -m stack logs --follow
STATUS = $(PYTHON_IN_VENV) -m stack status
DOCTOR = $(PYTHON_IN_VENV) -m doctor
NEEDS = venv
include deploy.mk

.PHONY: test
test: venv-test ## Run linters and tests, all that this machine can show (ARGS="tests/nginx -k limits": only these)
	@PATH="$(CURDIR)/.venv/bin:$$PATH" tests/run $(ARGS)

.PHONY: lint
lint: venv-test ## Check the sources, the rendered configuration and the images' recipes
	@PATH="$(CURDIR)/.venv/bin:$$PATH" tests/lint

.PHONY: eject
eject: ## Copy what a project needs: make eject DEST=../myservice APP_MODULE=package.module:app [ARGS="--help"]
	@requirements/venv eject
	@PATH="$(CURDIR)/.venv/bin:$$PATH" python -m eject $(ARGS) "$(DEST)" "$(APP_MODULE)"

.PHONY: loadtest
loadtest: ## Compare gunicorn's worker classes on this machine
	@echo "make loadtest is not built yet" >&2; exit 2

.PHONY: lock
lock: venv-test ## Lock the dependencies of pyproject.toml anew
	@PATH="$(CURDIR)/.venv/bin:$$PATH" requirements/lock

.PHONY: clean
clean: ## Remove the virtual environment and the caches (the data of stacks stays)
	rm -rf .venv .mypy_cache .pytest_cache .ruff_cache .hypothesis tests/artifacts

.PHONY: venv venv-test
venv:
	@requirements/venv stack
venv-test:
	@requirements/venv test

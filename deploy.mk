# What a project needs to run the kit, also one that the kit was copied into: plain Compose unless told otherwise.
# The kit's own Makefile sets these commands to ones that also know the local runtime.
UP ?= docker compose up --detach --wait
DOWN ?= docker compose down
LOGS ?= docker compose logs --follow --tail 100
STATUS ?= docker compose ps
DOCTOR ?= doctor/run
WAF_LOGS ?= docker compose logs --no-color --no-log-prefix gateway
# All containers at once, and no way back by itself: `make rollout` of the kit does better (docs/releases.md).
ROLLOUT ?= docker compose up --detach --wait --build

.DEFAULT_GOAL := help

.PHONY: help
help: ## List the targets
	@awk -F':.*## ' '/^[a-z-]+:.*## /{printf "  make %-10s %s\n", $$1, $$2}' $(filter %.mk,$(MAKEFILE_LIST)) $(filter-out %.mk,$(MAKEFILE_LIST))

.PHONY: up
up: $(NEEDS) ## Start everything and wait until it answers
	@$(UP)

.PHONY: down
down: $(NEEDS) ## Stop everything; the database and the generated secrets are kept
	@$(DOWN)

.PHONY: logs
logs: $(NEEDS) ## Follow what the services write (Ctrl-C ends it)
	@$(LOGS)

.PHONY: status
status: $(NEEDS) ## Say what runs
	@$(STATUS)

.PHONY: doctor
doctor: $(NEEDS) ## Check that all configuration files and the running stack agree
	@$(DOCTOR)

# ARGS: a new container's image (--image NAME), --plan, gateway; `make rollout ARGS=--help` names all.
.PHONY: waf-report
waf-report: $(NEEDS) ## List by rule what the firewall refused, with the line that lets it pass (LOG=file: of a kept log)
	@$(if $(LOG),nginx/waf/report.py $(LOG),log=$$($(WAF_LOGS)) && printf '%s\n' "$$log" | nginx/waf/report.py)

.PHONY: rollout
rollout: $(NEEDS) ## Replace the app's containers by a new version, without a gap [ARGS="--plan"]
	@$(ROLLOUT) $(ARGS)

# What PACKAGES=locked builds (docs/updates.md of the kit). The images' names: GATEWAY_IMAGE, ACME_IMAGE.
.PHONY: lock-packages
lock-packages: ## Write down Debian's packages in the gateway's image (and the ACME client's, when it was built)
	@nginx/packages lock "$(or $(GATEWAY_IMAGE),flask-kit-gateway)" nginx/packages.lock
	@image="$(or $(ACME_IMAGE),flask-kit-acme)"; if docker image inspect "$$image" >/dev/null 2>&1; \
		then nginx/packages lock "$$image" nginx/acme/packages.lock; else echo "nginx/acme/packages.lock stays as it is: there is no image $$image"; fi

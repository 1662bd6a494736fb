# Two commands do everything on a fresh machine; see README.md.
.PHONY: run test gates bench clean

DISPLAY_WRAPPER := xvfb-run -a -s "-screen 0 1600x1000x24 -nolisten tcp"

run:            ## the main job on the sample study: a window, or ./out without a display
	@packaging/setup.sh run
	@.venv/bin/medview demo --out out

test:           ## all tests with branches counted, under a virtual display
	@packaging/setup.sh test
	@$(DISPLAY_WRAPPER) .venv/bin/python -m pytest -n 2 --dist loadgroup --cov --cov-report= $(PYTEST)

gates:          ## style, types, layers, and the coverage floors of the last `make test`
	@packaging/setup.sh test
	.venv/bin/ruff check .
	.venv/bin/ruff format --check .
	.venv/bin/mypy medview
	.venv/bin/lint-imports
	.venv/bin/python tests/helpers/coverage_floors.py

bench:          ## speed, as ratios to a peer measured in the same run
	@packaging/setup.sh bench
	@$(DISPLAY_WRAPPER) .venv/bin/python -m pytest tests/benchmarks --benchmark-only -p no:xdist

clean:
	rm -rf .venv out build dist

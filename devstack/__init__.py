"""The embedded development stack behind `make run`, `make manage`, `make demo` and `make test`."""

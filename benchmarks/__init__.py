"""Speed and fault measurements; `python -m benchmarks --help` and `benchmarks/faults.py --help`."""

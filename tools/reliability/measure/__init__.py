"""Make faults, releases, overload and long runs happen to a stack of their own, and write down what was seen."""

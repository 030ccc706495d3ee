"""Network operators, each forward with its backward below it."""

"""Vector kernels written as LLVM code: one file a kernel family, one generator for every vector width."""

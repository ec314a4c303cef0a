"""The instruments of the benchmarks measure what they say; how fast anything is, is no test."""

"""From approximate to exact: pooled importance weights, refinement of the proposal, evidence."""

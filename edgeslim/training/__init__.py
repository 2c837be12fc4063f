"""Training: data, sandwich rule, inplace distillation, the loop."""

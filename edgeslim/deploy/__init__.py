"""From a checkpoint to a bundle: calibrate, fold, slice, pack, verify."""

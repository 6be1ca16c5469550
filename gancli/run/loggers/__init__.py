"""The programs beside TensorBoard that a run may be followed in: W&B, MLflow, Trackio."""

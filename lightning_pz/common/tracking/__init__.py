"""Where the numbers of a run go while it runs: TensorBoard, a CSV file, Weights & Biases, MLflow."""

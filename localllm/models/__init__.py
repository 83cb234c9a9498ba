"""models: what localllm knows about model files."""

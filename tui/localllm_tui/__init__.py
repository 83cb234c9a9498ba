"""localllm_tui: the screen of localllm."""

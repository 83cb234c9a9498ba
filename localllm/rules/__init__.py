"""rules: what an answer must look like, enforced and proved."""

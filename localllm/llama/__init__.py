"""llama: a thin typed wrapper over the low-level C API of llama.cpp; the only room that imports llama_cpp."""

#!/usr/bin/env bash
# Builds llama.cpp's own programs from the source distribution of the llama-cpp-python that is installed, so that the
# benchmarks compare the same code. Everything is built outside the tree.
#
#   bench/peers.sh DIR        then: export LOCALLLM_PEERS=DIR
#
# DIR receives llama-bench, llama-batched-bench, llama-completion, llama-server, llama-speculative-simple and
# llama-embedding. A second environment in DIR/python holds the Python peers (xllamacpp, sqlite-vec, usearch).
set -euo pipefail
dir=${1:?usage: bench/peers.sh DIR}
python=${PYTHON:-python3}
version=$("$python" -c 'from importlib.metadata import version; print(version("llama-cpp-python"))')
mkdir -p "$dir/src"
cd "$dir/src"
if [ ! -d "llama_cpp_python-$version" ]; then
  "$python" -m pip download --quiet --no-deps --no-binary llama-cpp-python "llama-cpp-python==$version"
  tar xzf "llama_cpp_python-$version.tar.gz"
fi
cmake -S "llama_cpp_python-$version/vendor/llama.cpp" -B build -DCMAKE_BUILD_TYPE=Release \
  -DLLAMA_BUILD_TESTS=OFF -DLLAMA_BUILD_UI=OFF -DLLAMA_USE_PREBUILT_UI=OFF -DLLAMA_OPENSSL=OFF -DLLAMA_BUILD_APP=OFF >cmake.log 2>&1
cmake --build build --parallel "${JOBS:-2}" --target \
  llama-bench llama-batched-bench llama-completion llama-server llama-speculative-simple llama-embedding >build.log 2>&1
for name in llama-bench llama-batched-bench llama-completion llama-server llama-speculative-simple llama-embedding; do
  ln -sf "$PWD/build/bin/$name" "$dir/$name"
done
if [ ! -d "$dir/python" ]; then
  "$python" -m venv "$dir/python"
  "$dir/python/bin/pip" install --quiet numpy xllamacpp sqlite-vec usearch || echo "some Python peers are missing" >&2
fi
echo "export LOCALLLM_PEERS=$dir"

#!/bin/sh
# Fuzz every target of the repository for a while: deploy/fuzz.sh 2s
set -eu
cd "$(dirname "$0")/.."
grep -rlE '^func Fuzz' --include='*_test.go' . | while read -r file; do
  package=$(dirname "$file")
  for target in $(grep -oE '^func Fuzz[A-Za-z]+' "$file" | cut -d' ' -f2); do
    echo "$package $target"
    # minimising a finding is bounded: large inputs would eat the time
    go test "$package" -run '^$' -fuzz "^$target\$" -fuzztime "${1:-2s}" -fuzzminimizetime 20x -parallel 2 < /dev/null
  done
done

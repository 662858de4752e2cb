#!/usr/bin/env bash
# Debian's parts that some tests run: GStreamer with its RTSP server, an OpenCV that has GStreamer, ffmpeg,
# an MQTT broker, systemd-analyze, which reads the unit, and Chromium with npm for those of the page.
# Without them those tests are skipped, and say so.
set -euo pipefail
packages=(
    ffmpeg mosquitto python3-gi python3-numpy python3-opencv systemd
    gir1.2-gst-plugins-base-1.0 gir1.2-gst-rtsp-server-1.0 gstreamer1.0-libav
    gstreamer1.0-plugins-base gstreamer1.0-plugins-good gstreamer1.0-plugins-bad gstreamer1.0-plugins-ugly
    chromium
)
# Debian's npm and one that came with another Node.js exclude each other.
command -v npm > /dev/null || packages+=(nodejs npm)
if ! command -v apt-get > /dev/null || [ "$(id -u)" != 0 ]; then
    echo "not installed, as this needs apt-get and root: ${packages[*]}"
    exit 0
fi
export DEBIAN_FRONTEND=noninteractive
if ! { apt-get update -qq && apt-get install -y -qq --no-install-recommends "${packages[@]}" > /dev/null; }; then
    echo "apt-get failed; the tests that need these packages are skipped: ${packages[*]}"
fi

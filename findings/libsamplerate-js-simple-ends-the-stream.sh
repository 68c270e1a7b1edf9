#!/usr/bin/env bash
# Versions: @alexanderolsen/libsamplerate-js 2.1.2.
# One would guess: that `simple()`, the method that its README shows first, may be called for one frame after the other.
# It does: it takes each call for a whole recording: the filter begins anew and is flushed, so a tone of amplitude 0.5
#   is wrong by 0.17 at every frame. `full()` keeps its state, and gives 29 samples later what the delay holds back.
# Source: the README of the package, and src_simple of libsamplerate, which it wraps.
# It matters here: 50 clicks a second in a call, at the right length, which no test of lengths finds.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
npm install --silent --no-audit --no-fund --ignore-scripts @alexanderolsen/libsamplerate-js@2.1.2 >/dev/null
cat >probe.mjs <<'EOF'
import libsamplerate from '@alexanderolsen/libsamplerate-js'
const { create, ConverterType } = libsamplerate
const open = () => create(1, 16_000, 24_000, { converterType: ConverterType.SRC_SINC_FASTEST })
const tone = Float32Array.from({ length: 3200 }, (_, i) => 0.5 * Math.sin((2 * Math.PI * 440 * i) / 16_000))
const [once, simple, full] = [await open(), await open(), await open()]
const whole = once.simple(tone)
const [bySimple, byFull] = [[], []]
for (let at = 0; at < tone.length; at += 320) {
  bySimple.push(...simple.simple(tone.slice(at, at + 320)))
  byFull.push(...full.full(tone.slice(at, at + 320)))
}
const error = (parts) => Math.max(...parts.slice(480, 4300).map((sample, i) => Math.abs(sample - whole[i + 480])))
console.log(`largest error of frames of 20 ms: simple ${error(bySimple).toFixed(3)}, full ${error(byFull).toFixed(3)}`)
console.log(`samples for ${whole.length}: simple ${bySimple.length}, full ${byFull.length}`)
process.exit(error(bySimple) > 0.1 && error(byFull) < 0.001 ? 0 : 1)
EOF
node probe.mjs

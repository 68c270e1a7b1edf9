#!/usr/bin/env bash
# Versions: @alexanderolsen/libsamplerate-js 2.1.2.
# Expected: `simple()`, the first method in the package's README, can be called for one frame after the other.
# Actual: Each call treats its samples as a whole recording: the filter begins anew and is flushed. So a tone of amplitude 0.5
#   is wrong by 0.17 at every frame. `full()` keeps its state, and returns delayed samples 29 samples later.
# Source: The README of the package, and src_simple of libsamplerate, which the package wraps.
# Reason to know it: A call would have 50 clicks a second. The length of the audio is right, so a test of lengths does not find
#   the fault.
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

#!/usr/bin/env bash
# Versions: microsoft-cognitiveservices-speech-sdk 1.52.0.
# Expected: The key of the resource is sent in a header only, as Azure documents it.
# Actual: The key is also in the query of the WebSocket's URL. This happens in Node too, where headers can be set, and are set.
# Source: distrib/lib/src/common.browser/WebsocketConnection.js adds each header to the query, because browsers cannot set
#   headers.
# Reason to know it: Proxies write URLs to their logs. The gateway has its own client for this protocol, and sends the key in a
#   header only.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
npm install --silent --no-audit --no-fund --ignore-scripts microsoft-cognitiveservices-speech-sdk@1.52.0 ws@8.23.0 >/dev/null
cat >probe.cjs <<'JS'
const sdk = require('microsoft-cognitiveservices-speech-sdk')
const { WebSocketServer } = require('ws')
const server = new WebSocketServer({ port: 0 }, () => {
  const config = sdk.SpeechConfig.fromHost(new URL(`ws://127.0.0.1:${server.address().port}`), 'a-secret-key')
  const audio = sdk.AudioConfig.fromStreamInput(sdk.AudioInputStream.createPushStream())
  new sdk.SpeechRecognizer(config, audio).startContinuousRecognitionAsync()
})
server.on('connection', (_, { url, headers }) => {
  console.log(`header: ${headers['ocp-apim-subscription-key']}`)
  console.log(`URL: ${url}`)
  process.exit(url.includes('a-secret-key') ? 0 : 1)
})
JS
node probe.cjs

#!/usr/bin/env bash
# Versions: @google-cloud/text-to-speech 6.4.1 (google-gax 5.0.8).
# Expected: The client over HTTP writes an enum by its name if the program gives the name, as Google documents its JSON
#   (`"audioEncoding": "LINEAR16"`).
# Actual: The request has the number (`"audioEncoding": 1`), and its query requests numbers in the answer too.
# Source: text_to_speech_client.js sets `numericEnums`. fallbackRest.js of google-gax writes the request by this option.
# Reason to know it: A double that is written from the documentation refuses Google's own client. Our double accepts names and
#   numbers.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
npm install --silent --no-audit --no-fund --ignore-scripts @google-cloud/text-to-speech@6.4.1 >/dev/null
cat >probe.cjs <<'JS'
const { TextToSpeechClient } = require('@google-cloud/text-to-speech')
const { createServer } = require('node:http')
const server = createServer((request, response) => {
  let body = ''
  request.on('data', (piece) => (body += piece))
  request.on('end', () => {
    console.log(request.url)
    console.log(body)
    response.end('{}')
    process.exit(JSON.parse(body).audioConfig.audioEncoding === 1 ? 0 : 1)
  })
}).listen(0, '127.0.0.1', () => {
  const client = new TextToSpeechClient({
    apiKey: 'a-key', projectId: 'a-project', fallback: true, protocol: 'http',
    apiEndpoint: '127.0.0.1', port: server.address().port,
  })
  client.synthesizeSpeech({
    input: { text: 'Habari' },
    voice: { languageCode: 'sw-KE', name: 'sw-KE-Chirp3-HD-Aoede' },
    audioConfig: { audioEncoding: 'LINEAR16' },
  })
})
JS
node probe.cjs

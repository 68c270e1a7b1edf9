#!/usr/bin/env bash
# Versions: @google-cloud/speech 7.5.0 (google-gax 5.0.8), @grpc/grpc-js 1.14.7.
# Expected: `sslCreds` only sets the certificates that the client trusts. A client behind its own proxy still sends the token of
#   the account in `credentials`.
# Actual: Calls do not carry an authorization, and there is no error. `sslCreds` replaces everything that the client would
#   create from `credentials`, including the account's tokens.
# Source: GrpcClient.createStub and _getCredentials of google-gax; the result of this script.
# Reason to know it: If Google's own client reaches a double by `sslCreds`, a test cannot check tokens. The client must get its
#   root certificates by GRPC_DEFAULT_SSL_ROOTS_FILE_PATH instead.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
npm install --silent --no-audit --no-fund --ignore-scripts @google-cloud/speech@7.5.0 @grpc/grpc-js@1.14.7 >/dev/null
openssl req -x509 -newkey rsa:2048 -nodes -keyout key.pem -out cert.pem -days 2 -subj /CN=localhost \
  -addext subjectAltName=DNS:localhost 2>/dev/null
cat >seen.cjs <<'EOF'
const { readFileSync } = require('node:fs')
const { generateKeyPairSync } = require('node:crypto')
const grpc = require('@grpc/grpc-js')
const { SpeechClient } = require('@google-cloud/speech').v1

const bytes = (buffer) => buffer
const server = new grpc.Server()
const seen = []
server.addService(
  {
    Recognize: {
      path: '/google.cloud.speech.v1.Speech/Recognize',
      requestStream: false,
      responseStream: false,
      requestSerialize: bytes,
      requestDeserialize: bytes,
      responseSerialize: bytes,
      responseDeserialize: bytes,
    },
  },
  {
    Recognize: (call, answer) => {
      seen.push(call.metadata.get('authorization').length > 0)
      answer(null, Buffer.alloc(0))
    },
  },
)
const own = grpc.ServerCredentials.createSsl(null, [
  { private_key: readFileSync('key.pem'), cert_chain: readFileSync('cert.pem') },
])
server.bindAsync('127.0.0.1:0', own, async (fault, port) => {
  if (fault) throw fault
  const privateKey = generateKeyPairSync('rsa', { modulusLength: 2048 }).privateKey
  const account = {
    projectId: 'somewhere',
    credentials: {
      client_email: 'reader@somewhere.iam.gserviceaccount.com',
      private_key: privateKey.export({ type: 'pkcs8', format: 'pem' }),
    },
    apiEndpoint: 'localhost',
    port,
  }
  for (const more of [{}, { sslCreds: grpc.credentials.createSsl(readFileSync('cert.pem')) }]) {
    const client = new SpeechClient({ ...account, ...more })
    await client.recognize({ config: { languageCode: 'sw-KE' }, audio: { content: Buffer.alloc(320) } })
    await client.close()
  }
  console.log(`authorized without sslCreds: ${seen[0]}, with sslCreds: ${seen[1]}`)
  server.forceShutdown()
  process.exit(seen[0] === true && seen[1] === false ? 0 : 1)
})
EOF
GRPC_DEFAULT_SSL_ROOTS_FILE_PATH=cert.pem timeout 60 node seen.cjs

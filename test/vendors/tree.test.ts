import { readFileSync, readdirSync } from 'node:fs'
import { dirname, join, relative } from 'node:path'
import t from 'tap'
import { packageRoot } from '../../src/config/package-root.js'
import { SERVICES, SERVICE_OPTIONS, VENDORS } from '../../src/vendors/list.js'
import { PARTS } from '../../src/vendors/vendor.js'

/** Folders of no single vendor. */
const OF_NOBODY: readonly string[] = ['self-hosted', 'own-recognisers']

/** Lines that name a vendor all the same, by file: at most ten, each with its reason. */
const EXCEPTIONS: Readonly<Record<string, readonly [lines: number, reason: string]>> = {
  'src/gateway/agents/agent-environment.ts': [1, 'variables that clouds give a machine, no settings of ours'],
  'src/telemetry/gen-ai.ts': [3, "names of OpenTelemetry's conventions, which are frozen in one file"],
  'src/simulator/vendors/model-double.ts': [
    1,
    "the package with the types of the messages that all models' doubles read",
  ],
  'src/simulator/vendors/cascade-models.ts': [1, 'the same'],
  'src/cli/demo/demo.ts': [1, 'the two voices that the demo plays'],
  'src/cli/demo/demo-languages.ts': [1, 'the service that the demo plays'],
  'src/messages/delivery.ts': [2, 'hosts of the scripts of spreadsheets'],
}
const LINES_MAX = 10

t.test('no file outside src/vendors names a vendor', async (t) => {
  const root = packageRoot()
  const words = VENDORS.flatMap(({ folder }) => (OF_NOBODY.includes(folder) ? [] : folder.split('-', 1)))
  t.ok(words.length >= 9, `${words.length} words`)
  const named = new RegExp(words.join('|'), 'i')
  const found: Record<string, number> = {}
  for (const entry of readdirSync(join(root, 'src'), { recursive: true, withFileTypes: true })) {
    const file = relative(root, join(entry.parentPath, entry.name))
    if (!entry.isFile() || file.startsWith('src/vendors/')) continue
    const lines = readFileSync(join(root, file), 'utf8')
      .split('\n')
      .filter((line) => named.test(line)).length
    if (lines > 0) found[file] = lines
  }
  const allowed = Object.fromEntries(Object.entries(EXCEPTIONS).map(([file, [lines]]) => [file, lines]))
  t.strictSame(found, allowed, 'name it in the folder of the vendor, and take it from src/vendors/list.ts')
  t.ok(Object.values(allowed).reduce((sum, lines) => sum + lines, 0) <= LINES_MAX)
})

/** Files of src/vendors that serve reads at its start: facts, and how a key is sent. */
const AT_THE_START = /^([^/]+|[^/]+\/(facts|options)|self-hosted\/key-headers)\.js$/

/** Built files that `file` imports before anything is done, with itself. */
function readWith(file: string, found: Set<string> = new Set()): Set<string> {
  if (found.has(file)) return found
  found.add(file)
  for (const [, specifier = ''] of readFileSync(file, 'utf8').matchAll(/^(?:import|export)[^;]*?"(\.[^"]+)";/gm))
    readWith(join(dirname(file), specifier), found)
  return found
}

t.test('serve loads no vendor code before a call', async (t) => {
  const dist = join(packageRoot(), 'dist/src')
  const starts = ['cli/serve/serve.js', 'gateway/gateway.js', 'workers/worker/call-opener.js']
  const found = new Set(starts.flatMap((file) => [...readWith(join(dist, file))]))
  const ofVendors = [...found]
    .map((file) => relative(join(dist, 'vendors'), file))
    .filter((file) => !file.startsWith('..'))
  t.ok(found.has(join(dist, 'backends/load-backend.js')), 'the code that makes backends')
  t.ok(ofVendors.includes('openai/facts.js'), 'the facts of all vendors')
  t.same(
    ofVendors.filter((file) => !AT_THE_START.test(file)),
    [],
  )
})

t.test("services of one stage share an option's schema", (t) => {
  for (const part of PARTS)
    for (const [name, { options }] of SERVICES[part])
      for (const [option, schema] of Object.entries(options)) {
        const shared: Readonly<Record<string, unknown>> = SERVICE_OPTIONS[part]
        t.equal(schema, shared[option], `${part} ${name}: ${option} is that of src/vendors/common-options.ts`)
        t.ok(schema.safeParse(undefined).success || schema.def.type === 'optional', `${name}: ${option} is optional`)
      }
  t.end()
})

import { readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { backendEventSchema } from '../../src/call/backend-events.js'
import { packageRoot } from '../../src/config/package-root.js'
import { ERRORS, HTTP_ERRORS } from '../../src/core/error-codes.js'

const TABLE = 'core/error-codes.ts'
const folder = join(packageRoot(), 'src')
const sources = readdirSync(folder, { recursive: true, encoding: 'utf8' })
  .filter((file) => /\.tsx?$/.test(file) && file !== TABLE)
  .map((file) => ({ file, text: readFileSync(join(folder, file), 'utf8') }))
const explained: ReadonlySet<string> = new Set([...Object.values(ERRORS), HTTP_ERRORS].flatMap(Object.keys))

/** The calls that make an error or an answer with a code, and the comments that announce one. */
const MAKERS = [
  /\bGatewayError\(\s*'(\w+)'/g,
  /\b(?:errorReply|rejection|refusal)\([^'()]*(?:'[\w-]+',[^'()]*)?'([A-Z]{2}[A-Z_]+)'/g,
  /\b(?:code|error): '([A-Z]+_[A-Z_]+)'/g,
]
const ANNOUNCED = /@throws GatewayError ([A-Z]+(?:_[A-Z]+)+\b(?:(?:, or |, | or )[A-Z]+(?:_[A-Z]+)*\b)*)/g
/** Codes of vendors' own protocols, which the simulated vendors send. */
const FOREIGN = /^simulator\/vendors\/|^vendors\/[^/]+\/[a-z-]*double\.ts$/

t.test('docs/ERRORS.md explains each code that the gateway reports', async (t) => {
  let made = 0
  for (const { file, text } of sources) {
    if (FOREIGN.test(file)) continue
    for (const maker of MAKERS)
      for (const [, code = ''] of text.matchAll(maker)) {
        made++
        if (!explained.has(code)) t.fail(`${TABLE} explains ${code}, which ${file} reports`)
      }
    for (const [, codes = ''] of text.matchAll(ANNOUNCED))
      for (const code of codes.split(/, or |, | or /))
        if (!explained.has(code)) t.fail(`${TABLE} explains ${code}, which ${file} announces`)
  }
  t.ok(made > 200, `${made} places report a code`)
})

t.test('the gateway can report each code of docs/ERRORS.md', async (t) => {
  const written = new Set(sources.flatMap(({ text }) => [...text.matchAll(/'([A-Z_]+)'/g)].map(([, code]) => code)))
  const event = backendEventSchema.options.find(({ shape }) => shape.type.value === 'error')
  const faults =
    event !== undefined && 'code' in event.shape && 'options' in event.shape.code ? event.shape.code.options : []
  const made = new Set(faults.map((fault) => `BACKEND_${String(fault).toUpperCase()}`))
  t.ok(made.size >= 8, 'the faults of a backend are codes')
  for (const code of explained) t.ok(written.has(code) || made.has(code), code)
  for (const code of made) t.ok(explained.has(code), code)
})

t.test('each code has a cause and an action', async (t) => {
  for (const group of [...Object.values(ERRORS), HTTP_ERRORS])
    for (const [code, { cause, action }] of Object.entries<{ cause: string; action: string }>(group)) {
      t.match(cause, /^[a-z].{10,}[^.]$/, `${code}: its cause is a clause`)
      t.match(action, /^[a-z].{5,}[^.]$/, `${code}: its action is a clause`)
    }
})

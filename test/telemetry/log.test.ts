import fc from 'fast-check'
import t from 'tap'
import { GatewayError } from '../../src/core/errors.js'
import { parseCallSid } from '../../src/core/ids.js'
import type { CallSid } from '../../src/core/ids.js'
import { createLog, parseLogSettings } from '../../src/telemetry/log.js'
import type { LogOptions } from '../../src/telemetry/log.js'
import { maskText, scrub } from '../../src/telemetry/redact.js'

/** A log, its lines as text, and as objects. */
function written(options: LogOptions = {}) {
  const lines: string[] = []
  const log = createLog({ ...options, destination: { write: (line) => void lines.push(line) } })
  return {
    log,
    text: () => lines.join(''),
    lines: () => lines.map((line) => JSON.parse(line) as Record<string, unknown>),
  }
}

t.test('a package version is not masked as an email', (t) => {
  for (const [text, masked] of [
    ['npm install soundswallower@0.6.1', 'npm install soundswallower@0.6.1'],
    ['uws-pack@20.51.0-rc.1 does not load', 'uws-pack@20.51.0-rc.1 does not load'],
    ['amina@10.0.0.1, amina@3.example.co.ke', '[email], [email]'],
  ] as const)
    t.equal(maskText(text), masked)
  t.end()
})

t.test("a caller's number is redacted in every field", (t) => {
  const { log, text, lines } = written()
  log.info(
    {
      from: '+254700000001',
      caller: { number: '254700000001' },
      note: 'rang +254 700 000 001 twice',
      deep: { list: ['0700000001'] },
      asNumber: 254700000001,
      url: 'https://gw.example.com/audio?t=a.b.c&from=254700000001',
    },
    'Dialled 254700000001',
  )
  t.notMatch(text(), /700.?000.?001/)
  t.match(lines(), [
    {
      msg: 'Dialled [number]',
      from: '[redacted]',
      note: 'rang [number] twice',
      url: 'https://gw.example.com/audio?[redacted]',
    },
  ])
  t.end()
})

t.test("callers' words and tools' arguments are never logged", (t) => {
  const { log, text } = written()
  log.warn(
    {
      transcript: [{ role: 'caller', text: 'my secret is plum' }],
      args: { order: 'plum' },
      tool: { result: 'plum' },
      pii: 'plum',
    },
    'A tool failed',
  )
  t.notMatch(text(), /plum/)
  t.end()
})

t.test('keys and tokens are masked in fields and errors', (t) => {
  const { log, text, lines } = written()
  const cause = new Error('Incorrect API key provided: sk-proj-abcDEF123456')
  const error = new GatewayError(
    'BACKEND_AUTH',
    'wss://user:hunter22@host/v1?key=AIzaSyD-1234567890abcdefghij refused',
    { cause },
  )
  log.error(
    {
      err: error,
      apiKey: 'k1',
      headers: { authorization: 'Bearer hunter22' },
      detail: 'Authorization: Bearer hunter22',
      jwt: 'eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.abc',
      hook: 'whsec_hunter22',
      other: 'token=hunter22&x=1',
    },
    'Could not connect with sk-proj-abcDEF123456',
  )
  t.notMatch(text(), /hunter22|abcDEF123456|AIzaSy|eyJhb|k1/)
  t.match(lines(), [
    {
      err: {
        type: 'GatewayError',
        code: 'BACKEND_AUTH',
        message: /refused$/,
        stack: /redact|log\.test/,
        cause: { type: 'Error' },
      },
    },
  ])
  t.end()
})

t.test('ids, times and counts stay readable', (t) => {
  const { log, lines } = written()
  log.call(parseCallSid('HD_012345678901')).info(
    {
      streamSid: 'ST0123456789012345678901234567890123',
      port: 8080,
      ms: 12_345_678,
      code: 1006,
      address: '127.0.0.1',
    },
    'The audio socket of HD_012345678901 closed',
  )
  t.match(lines(), [
    {
      level: 'info',
      call_sid: 'HD_012345678901',
      streamSid: 'ST0123456789012345678901234567890123',
      port: 8080,
      ms: 12_345_678,
      code: 1006,
      address: '127.0.0.1',
      msg: 'The audio socket of HD_012345678901 closed',
      time: /^\d{4}-\d\d-\d\dT/,
    },
  ])
  t.end()
})

t.test('no number passes in any notation', (t) => {
  const digits = fc.stringMatching(/^[1-9][0-9]{8,13}$/)
  fc.assert(
    fc.property(digits, fc.constantFrom('', '+', '00'), fc.constantFrom('', ' ', '-'), (number, prefix, separator) => {
      const spelled = prefix + number.match(/.{1,3}/g)!.join(separator)
      for (const text of [`call from ${spelled}, please`, `to_${spelled}.`, `<${spelled}>`, `caller-${spelled}`]) {
        if (/\d/.test(maskText(text)) || /\d/.test(JSON.stringify(scrub({ detail: text })))) return false
      }
      return true
    }),
    { numRuns: 300 },
  )
  t.pass('300 numbers, each in four places')
  t.end()
})

t.test('no logged value can break the line', (t) => {
  const { log, lines } = written()
  const loop: Record<string, unknown> = { a: 1 }
  loop['self'] = loop
  log.info(
    {
      loop,
      big: 'x'.repeat(100_000),
      many: Array.from({ length: 1000 }, () => 1),
      bytes: new Uint8Array(640),
      map: new Map(),
      fn: () => 1,
      big2: 10n,
      nan: NaN,
      date: undefined,
      nothing: null,
    },
    'line\nbreak',
  )
  const [line] = lines()
  t.match(line, { bytes: '[640 bytes]', map: '[0 entries]', nothing: null, msg: 'line\nbreak' })
  t.ok(JSON.stringify(line).length < 10_000)
  fc.assert(
    fc.property(fc.dictionary(fc.string(), fc.anything()), (fields) => {
      log.info(fields, 'Anything')
    }),
    { numRuns: 200 },
  )
  t.equal(lines().length, 201)
  t.end()
})

t.test('components have levels of their own, and children keep them', (t) => {
  const settings = parseLogSettings('warn,edge=debug, workers = error')
  t.same(settings, { level: 'warn', components: { edge: 'debug', workers: 'error' } })
  const { log, lines } = written(settings)
  log.info({}, 'not written')
  log.component('edge').debug({}, 'written 1')
  log.component('edge').call(parseCallSid('HD_1')).debug({}, 'written 2')
  log.component('workers').warn({}, 'not written')
  log.component('fleet').warn({}, 'written 3')
  t.same(
    lines().map((line) => line['msg']),
    ['written 1', 'written 2', 'written 3'],
  )
  t.match(lines()[1], { component: 'edge', call_sid: 'HD_1' })
  t.end()
})

t.test('an unknown log level stops the start', (t) => {
  for (const text of ['loud', 'edge=loud', 'Edge=info', '=info']) {
    t.throws(() => parseLogSettings(text), { code: 'CONFIG_INVALID', message: /trace, debug, info/ }, text)
  }
  t.same(parseLogSettings(''), { level: 'info', components: {} })
  t.end()
})

t.test('a hostile SID stays in one JSON line [1]', async (t) => {
  const lines: string[] = []
  const log = createLog({ level: 'info', destination: { write: (line) => void lines.push(line) } })
  for (const sid of ['"},"level":"fatal', 'a\nb', '\u2028', 'x'.repeat(10_000)]) {
    log.call(sid as CallSid).info({ code: 1 }, 'stream closed')
  }
  t.equal(lines.length, 4)
  for (const line of lines) {
    t.equal(line.indexOf('\n'), line.length - 1, 'one line')
    t.match(JSON.parse(line), { level: 'info', code: 1, msg: 'stream closed' })
  }
})

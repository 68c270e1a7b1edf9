import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { environmentOf } from '../../src/cli/serve-plans.js'
import { loadConfig } from '../../src/config/load-config.js'

t.test('a setting that is a text keeps every character, whatever YAML would make of it', (t) => {
  const file = join(t.testdir(), 'mkondo.yaml')
  const load = (yaml: string) => {
    writeFileSync(file, yaml)
    return loadConfig({}, file)
  }
  for (const token of [
    '00123456789012345678',
    '1e10000000000000',
    '0o17777777777777',
    '0xdeadbeefdeadbeef',
    '+12345678901234567',
    '.5000000000000000',
  ])
    t.equal(load(`opsToken: ${token}\n`).opsToken, token, token)
  t.equal(load('nodeName: 007\n').nodeName, '007')
  t.same(load('outboundPrefixes: [+254, +255]\n').outboundPrefixes, ['+254', '+255'])
  t.same(load('outboundPrefixes:\n  - +256 # Uganda\n').outboundPrefixes, ['+256'])
  t.equal(load('\ufeffopsPort: 9000\n').opsPort, 9000)
  t.equal(load('opsPort: 0x2328\n').opsPort, 9000, 'a number may be written as YAML has it')
  t.equal(load('carrierRecordings: False\n').carrierRecordings, false)
  for (const cut of ['opsToken: 1234567890123456 #7890', 'opsToken: 1234567890\n  1234567890'])
    t.throws(() => load(`${cut}\n`), {
      message: /setting 'opsToken' is cut at '#' or at the end of its line; put its value in quotes/,
    })
  t.end()
})

t.test('the first variable of an environment file is read, whichever editor wrote the file', (t) => {
  const file = join(t.testdir(), '.env')
  const text = 'OPS_TOKEN=0012345678901234\r\nNODE_NAME=007\r\n'
  for (const bytes of [Buffer.from(text), Buffer.from(`\ufeff${text}`), Buffer.from(`\ufeff${text}`, 'utf16le')]) {
    writeFileSync(file, bytes)
    t.match(environmentOf({}, file), { OPS_TOKEN: '0012345678901234', NODE_NAME: '007' })
  }
  t.end()
})

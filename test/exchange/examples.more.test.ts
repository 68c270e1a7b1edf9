import { execFile } from 'node:child_process'
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { readFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { promisify } from 'node:util'
import t from 'tap'
import { selfSigned } from '../../bench/kit/self-signed.js'
import { packageRoot } from '../../src/config/package-root.js'
import { type FoundAsterisk, OwnAsterisk } from '../../src/exchange/own-asterisk.js'
import { freePort } from '../support/free-ports.js'
import { freeUdpPort, testAsterisk } from '../support/own-exchange.js'
import { spawnOwn } from '../support/spawn-own.js'
import { until } from '../support/until.js'

const found = await testAsterisk()
const skip = found === null ? 'there is no Asterisk of 22.8 or later here' : false

/** The blocks of the manual that are files of Asterisk, by the file's name. */
async function examples(): Promise<ReadonlyMap<string, string>> {
  const manual = await readFile(join(packageRoot(), 'docs/ASTERISK.md'), 'utf8')
  const blocks = [...manual.matchAll(/```ini\n(; (\w+\.conf)[^]*?)```/g)]
  return new Map(blocks.map(([, text = '', name = '']) => [name, text]))
}

/**
 * Files with which an Asterisk of ours has started, in another folder.
 * @param temporary  for the folder of each; short, because the path of a socket is
 */
async function ownFiles(temporary: string, asterisk: FoundAsterisk): Promise<string> {
  const before = process.env['TMPDIR']
  process.env['TMPDIR'] = temporary
  const own = await OwnAsterisk.start({
    ...{ asterisk, address: '127.0.0.1', httpPort: await freePort(), numbers: ['100'] },
    ...{ sipPort: await freeUdpPort(), rtpPort: 2 * Math.floor((await freeUdpPort()) / 4) },
    accounts: [{ user: '200', password: 'made-up-of-tests' }],
    exchange: { address: '127.0.0.1:1', secret: 'made-up-secret-of-tests' },
    ari: { user: 'mkondo', password: 'made-up-of-tests' },
  }).finally(() => {
    if (before === undefined) delete process.env['TMPDIR']
    else process.env['TMPDIR'] = before
  })
  const from = join(temporary, readdirSync(temporary)[0] ?? '')
  const to = join(temporary, 'a')
  for (const name of ['etc', 'run', 'log']) mkdirSync(join(to, name), { recursive: true })
  for (const name of readdirSync(join(from, 'etc')))
    writeFileSync(join(to, 'etc', name), readFileSync(join(from, 'etc', name), 'utf8').replaceAll(from, to))
  await own.stop()
  return to
}

t.test('Asterisk reads the examples of the manual', { skip }, async (t) => {
  const { program, prefix } = found as FoundAsterisk
  const temporary = mkdtempSync(join(tmpdir(), 'ex-'))
  t.teardown(() => rmSync(temporary, { recursive: true, force: true }))
  const texts = await examples()
  t.same([...texts.keys()], ['pjsip.conf', 'extensions.conf'])
  const folder = await ownFiles(temporary, found as FoundAsterisk)
  const etc = join(folder, 'etc')
  const change = (name: string, make: (text: string) => string): void =>
    writeFileSync(join(etc, name), make(readFileSync(join(etc, name), 'utf8')))
  const { cert, key } = selfSigned()
  writeFileSync(join(etc, 'sip.pem'), cert)
  writeFileSync(join(etc, 'sip.key'), key)
  const tlsPort = await freePort()
  const pjsip = (texts.get('pjsip.conf') ?? '')
    .replaceAll('/etc/asterisk/keys', etc)
    .replace('0.0.0.0:5061', `127.0.0.1:${tlsPort}`)
  change('pjsip.conf', (text) => `${text}\n${pjsip}`)
  // The example's fallback is in place of the printed one.
  const dialled = texts.get('extensions.conf') ?? ''
  change('extensions.conf', (text) => `${text.replace(/\[mkondo-fallback\]\n(?:.+\n)+/, '')}\n${dialled}`)
  const more = ['res_srtp', 'res_pjsip_endpoint_identifier_ip', 'res_pjsip_outbound_registration']
  change('modules.conf', (text) => `${text}${more.map((name) => `load = ${name}.so\n`).join('')}`)

  const config = join(etc, 'asterisk.conf')
  const asterisk = spawnOwn(program, [...prefix, '-f', '-C', config], { stdio: 'ignore' })
  t.teardown(() => asterisk.kill('SIGKILL'))
  const run = promisify(execFile)
  const ask = async (command: string): Promise<string> =>
    (await run(program, [...prefix, '-C', config, '-rx', command])).stdout
  const isUp = async (): Promise<boolean> =>
    (await ask('core waitfullybooted').catch(() => '')).includes('fully booted')
  await until(isUp, 30_000, 'an Asterisk with the examples')

  const endpoint = await ask('pjsip show endpoint trunk')
  t.match(endpoint, /media_encryption\s*: sdes/)
  t.match(endpoint, /media_encryption_optimistic\s*: (no|false)/)
  t.match(endpoint, /context\s*: from-trunk/)
  t.match(endpoint, /trust_id_inbound\s*: (yes|true)/)
  t.match(await ask('pjsip show transports'), new RegExp(`trunk-tls +tls .*127\\.0\\.0\\.1:${tlsPort}`))
  t.match(await ask('pjsip show aor trunk'), /sip:SIP\.TRUNK\.EXAMPLE:5061;transport=tls/)
  t.match(await ask('pjsip show identifies'), /192\.0\.2\.10/)
  t.match(await ask('pjsip show registrations'), /trunk\/sip:SIP\.TRUNK\.EXAMPLE:5061/)
  const dialplan = await ask('dialplan show from-trunk')
  t.match(dialplan, /'\+254700000000'[^]*Goto\(mkondo,\$\{EXTEN\},1\)/)
  t.match(dialplan, /'_\[\+0-9\]!'[^]*Hangup\(1\)/)
  t.match(await ask('dialplan show mkondo-fallback'), /Dial\(PJSIP\/desk,20\)/)
})

import { createSocket } from 'node:dgram'
import { once } from 'node:events'
import { mkdtempSync, readdirSync, rmSync } from 'node:fs'
import { networkInterfaces, tmpdir } from 'node:os'
import { join } from 'node:path'
import t from 'tap'
import { rmsOf } from '../../src/carrier/line.js'
import { freeUdpPort, testAsterisk } from '../support/own-exchange.js'
import { SipPhone } from '../support/sip-phone.js'
import { comesUp, until } from '../support/until.js'
import { type Run, endsWith, mkondo } from './mkondo-process.js'

const found = await testAsterisk()
const skip = found === null ? 'there is no Asterisk of 22.8 or later here' : false
const root = process.env['ASTERISK_ROOT']
const where = root === undefined ? [] : ['--root', root]

async function isUp(run: Run): Promise<void> {
  const saysSo = (): boolean => run.lines.some((line) => line.includes('Ctrl-C'))
  await comesUp(run.child, saysSo, 60_000, 'a phone line', () => run.lines.join('\n'))
}

/** This machine's address on a network; undefined: it has none. */
const lan = Object.values(networkInterfaces())
  .flatMap((all) => all ?? [])
  .find(({ family, internal }) => family === 'IPv4' && !internal)?.address

/** Fails if it is taken. */
async function takePort(port: number, address = '127.0.0.1'): Promise<void> {
  const probe = createSocket('udp4')
  probe.bind({ port, address, exclusive: true })
  await once(probe, 'listening')
  probe.close()
}

t.test('a SIP phone calls with the printed account', { skip }, async (t) => {
  const port = await freeUdpPort()
  if (lan === undefined) t.comment('SKIPPED, --lan: this machine has no network; loopback is tested in its place')
  const run = mkondo(['phone', ...where, '--port', String(port), ...(lan === undefined ? [] : ['--lan', lan])])
  endsWith(t, run)
  const accounts = (): RegExpMatchArray[] =>
    run.lines.flatMap((line) => [...line.matchAll(/server ([\d.]+):(\d+) \(UDP\), user (\d+), password (\w+)/g)])
  await isUp(run)
  const [first, second] = accounts().map(([, host = '', server, user = '', password = '']) => ({
    ...{ host, server: Number(server), user, password },
  }))
  if (first === undefined || second === undefined) throw new Error('two accounts are printed')
  t.match(first, { host: lan ?? '127.0.0.1', server: port })
  const addresses = run.lines.flatMap((line) => /remote provisioning: (\S+)/.exec(line)?.[1] ?? [])
  t.equal(addresses.length, lan === undefined ? 0 : 2)
  for (const [i, { password }] of [first, second].entries())
    if (addresses[i] !== undefined) t.ok((await (await fetch(addresses[i])).text()).includes(password))
  await t.rejects(SipPhone.start({ ...first, password: 'another' }), /401/, 'another password is refused')
  const human = await SipPhone.start(second)
  const phone = await SipPhone.start(first)
  t.teardown(() => [human, phone].forEach((each) => each.close()))
  const call = await phone.call('100')
  const isGreeted = (): boolean => call.packets.filter(({ pcm }) => rmsOf(pcm) > 300).length > 10
  await until(isGreeted, 30_000, 'the greeting')
  call.press('0')
  await until(() => human.rang.length === 1, 40_000, 'the phone of the human')

  run.child.kill('SIGINT')
  t.equal(await run.exit, 0)
  await until(() => call.ended !== null, 20_000, 'the end of the call')
  await takePort(port, lan)
  if (addresses[0] !== undefined) await t.rejects(fetch(addresses[0]), 'nobody gets the settings any more')
})

t.test('a killed phone command leaves no process or file [1]', { skip }, async (t) => {
  // Short: the path of a socket is.
  const [port, temporary] = [await freeUdpPort(), mkdtempSync(join(tmpdir(), 'killed-'))]
  t.teardown(() => rmSync(temporary, { recursive: true, force: true }))
  const env = { TMPDIR: temporary, ...(root === undefined ? {} : { ASTERISK_ROOT: root }) }
  const run = mkondo(['phone', '--port', String(port)], env)
  endsWith(t, run)
  await isUp(run)
  t.match(readdirSync(temporary).sort(), [/^mkondo-asterisk-/, /^mkondo-phone-/])
  run.child.kill('SIGKILL')
  await until(() => readdirSync(temporary).length === 0, 30_000, 'the end of Asterisk and gateway')
  await takePort(port)
})

t.test('a SIP port in use is named', { skip }, async (t) => {
  const taken = createSocket('udp4')
  taken.bind(0, '127.0.0.1')
  await once(taken, 'listening')
  t.teardown(() => taken.close())
  const { port } = taken.address()
  const run = mkondo(['phone', ...where, '--port', String(port)])
  t.equal(await run.exit, 2)
  t.match(run.lines.join('\n'), new RegExp(`UDP port ${port} of 127.0.0.1 is taken`))
})

t.test('an address of another machine is refused', { skip }, async (t) => {
  const run = mkondo(['phone', ...where, '--lan', '198.51.100.1'])
  t.equal(await run.exit, 2)
  t.match(run.lines.join('\n'), /--lan is "198\.51\.100\.1", which is no address of this machine|has no network/)
})

t.test('a folder without Asterisk is refused with advice', async (t) => {
  const [empty, other] = [t.testdir({ empty: {} }) + '/empty', root ?? '/nowhere']
  const given = mkondo(['phone', '--root', empty], { ASTERISK_ROOT: other })
  const fromTheEnvironment = mkondo(['phone'], { ASTERISK_ROOT: empty })
  for (const run of [given, fromTheEnvironment]) {
    t.equal(await run.exit, 2)
    t.match(run.lines.join('\n'), new RegExp(`there is no Asterisk in ${empty}.*mmdebstrap.*ASTERISK_ROOT`))
  }
})

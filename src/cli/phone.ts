import { randomBytes } from 'node:crypto'
import { createSocket } from 'node:dgram'
import { once } from 'node:events'
import { closeSync, openSync } from 'node:fs'
import { mkdtemp, readFile, rm } from 'node:fs/promises'
import { createServer, type AddressInfo } from 'node:net'
import { networkInterfaces, tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { renderUnicodeCompact } from 'uqr'
import { GatewayError, messageOf } from '../core/errors.js'
import { ChildProgram } from '../exchange/child-process.js'
import { Exchange } from '../exchange/exchange.js'
import { findAsterisk, OwnAsterisk, type SipAccount } from '../exchange/own-asterisk.js'
import { createLog } from '../telemetry/log.js'
import { PhoneSettings } from './phone-settings.js'
import type { Terminal } from './terminal.js'

/** The options of `mkondo phone`. */
export interface PhoneOptions {
  readonly agent: string
  readonly root?: string
  /** True to use this machine's first network address; loopback if absent. */
  readonly lan?: string | true
  readonly port: number
}

const LOOPBACK = '127.0.0.1'
/** The number to call. */
const NUMBER = '100'
/** Number of the workspace. It is the caller number of placed calls. */
const WORKSPACE_NUMBER = '+254700000000'
/**
 * The caller is a customer of the demo's shop, with one open order. All numbers that the gateway rings lead to the
 * second phone.
 */
const CALLER = { user: '200', number: '+254700000001' } as const
const HUMAN = { user: '201', number: '+254720000010' } as const
const READY_MS_MAX = 60_000
const STOP_MS_MAX = 10_000
const CALLS_MAX = 20
const LOG_LINES_SHOWN = 5

/** Runs all programs through which a SIP phone can call an agent, until `signal` is aborted. */
export async function runPhone(options: PhoneOptions, terminal: Terminal, signal: AbortSignal): Promise<void> {
  const asterisk = await findAsterisk((options.root ?? terminal.env['ASTERISK_ROOT']) || null)
  const address = options.lan === undefined ? LOOPBACK : lanAddress(options.lan)
  if (!(await isFreeUdp(address, options.port)))
    throw new GatewayError('PORT_IN_USE', `UDP port ${options.port} of ${address} is taken; choose another with --port`)
  const folder = await mkdtemp(join(tmpdir(), 'mkondo-phone-'))
  const stops: (() => Promise<unknown>)[] = [() => rm(folder, { recursive: true, force: true })]
  const secret = randomBytes(24).toString('hex')
  try {
    const [port, opsPort, httpPort] = [await freePort(), await freePort(), await freePort()]
    const origin = `http://127.0.0.1:${port}`
    const ari = { user: 'mkondo', password: secret }
    const exchange = await Exchange.start({
      ...{ host: '127.0.0.1', port: 0, mediaSecret: secret, callsMax: CALLS_MAX, webhookSecret: secret },
      numbers: [NUMBER, WORKSPACE_NUMBER].map((e164) => ({
        ...{ id: `num_${e164}`, e164, status: 'active' },
        ...{ voiceUrl: `${origin}/voice/${options.agent}`, eventsUrl: `${origin}/events` },
      })),
      rest: { port: 0, key: secret },
      ari: { url: `http://127.0.0.1:${httpPort}`, ...ari },
      dialRules: [
        { prefix: CALLER.number, endpoint: `PJSIP/${CALLER.user}` },
        ...[...'123456789'].map((digit) => ({ prefix: `+${digit}`, endpoint: `PJSIP/${HUMAN.user}` })),
      ],
      log: createLog({ level: 'warn' }),
    })
    stops.push(() => exchange.stop())
    const gateway = startGateway(folder, {
      ...{ PORT: String(port), OPS_PORT: String(opsPort), HOST: '127.0.0.1', DATA_DIR: join(folder, 'data') },
      ...{ SAUTIKIT_API_URL: exchange.restOrigin ?? '', SAUTIKIT_API_KEY: secret, SAUTIKIT_WEBHOOK_SECRETS: secret },
      PUBLIC_URL: '',
    })
    stops.push(() => gateway.stop())
    await ready(gateway, `http://127.0.0.1:${opsPort}/readyz`, folder, signal)
    const accounts = [CALLER, HUMAN].map(({ user, number }) => ({ user, number, password: newPassword() }))
    const own = await OwnAsterisk.start({
      ...{ asterisk, address, sipPort: options.port, rtpPort: await freeRtpPorts(address), httpPort, ari, accounts },
      numbers: [NUMBER],
      exchange: { address: `127.0.0.1:${exchange.port}`, secret },
    })
    stops.push(() => own.stop())
    const server = `${address}:${options.port}`
    // Without `--lan` the phone app runs on this machine, so it cannot scan a QR code.
    const settings = options.lan === undefined ? null : await PhoneSettings.start(address, server, accounts)
    if (settings !== null) stops.push(() => settings.close())
    const [urls, columns] = [settings?.urls ?? [], terminal.columns()]
    terminal.out(welcome({ version: asterisk.version, server, accounts, opsPort, urls, columns }))
    const lost = gateway.ended.then(async () => {
      throw new GatewayError('CALL_FAULT', `the gateway has ended: ${await lastLines(folder)}`)
    })
    if (!signal.aborted) await Promise.race([once(signal, 'abort'), lost])
    lost.catch(() => undefined)
  } catch (thrown) {
    // A stop during the start is not an error.
    if (!signal.aborted) throw thrown
  } finally {
    for (const stop of stops.reverse()) await stop()
  }
}

interface Welcome {
  readonly version: string
  /** Address at which phones register. */
  readonly server: string
  /** Accounts of the caller and of the human. */
  readonly accounts: readonly SipAccount[]
  readonly opsPort: number
  /** URLs at which Linphone fetches the settings of each account; empty if settings are not served. */
  readonly urls: readonly string[]
  /** Width of the terminal; null without a terminal. */
  readonly columns: number | null
}

/** Text that is printed when calls are possible. */
export function welcome({ version, server, accounts, opsPort, urls, columns }: Welcome): string {
  const account = ({ user, password }: SipAccount): string =>
    `server ${server} (UDP), user ${user}, password ${password}`
  const [caller = '', human = ''] = accounts.map((each, i) => {
    const url = urls[i]
    return url === undefined ? account(each) : `${account(each)}\n${codeOf(url, columns)}`
  })
  return `Asterisk ${version}, exchange and gateway run.

Call ${NUMBER} with any SIP phone: ${caller}
A second phone is the human:  ${human}

Console: http://127.0.0.1:${opsPort}/
Ctrl-C stops all of it.
`
}

/** A QR code if the terminal is wide enough, and the code's text. */
function codeOf(url: string, columns: number | null): string {
  const code = renderUnicodeCompact(url, { border: 2 })
  const fits = columns === null || code.indexOf('\n') <= columns
  return `${fits ? `${code}\n` : ''}Linphone scans this code, or takes it as the address of remote provisioning: ${url}\n`
}

/** Starts a gateway with the demo's shop in a separate process. The gateway's log goes to a file. */
function startGateway(folder: string, env: Readonly<Record<string, string>>): ChildProgram {
  const log = openSync(join(folder, LOG_FILE), 'a', 0o600)
  try {
    const args = [...process.execArgv, process.argv[1] ?? '', 'serve', '--with-shop']
    return new ChildProgram(process.execPath, args, {
      ...{ folder, stopMsMax: STOP_MS_MAX, env: { ...process.env, ...env }, output: log },
    })
  } finally {
    closeSync(log)
  }
}

const LOG_FILE = 'gateway.log'

/**
 * @throws GatewayError CONFIG_INVALID with the last lines of the gateway's log, if the gateway ends or is not ready
 * within a minute
 */
async function ready(gateway: ChildProgram, url: string, folder: string, signal: AbortSignal): Promise<void> {
  const untilMs = performance.now() + READY_MS_MAX
  while (gateway.isRunning && performance.now() < untilMs) {
    signal.throwIfAborted()
    const answer = await fetch(url).catch(() => null)
    if (answer?.status === 200) return
    await sleep(100)
  }
  throw new GatewayError('CONFIG_INVALID', `the gateway does not take calls: ${await lastLines(folder)}`)
}

async function lastLines(folder: string): Promise<string> {
  const log = await readFile(join(folder, LOG_FILE), 'utf8').catch((thrown: unknown) => messageOf(thrown))
  return log.trim().split('\n').slice(-LOG_LINES_SHOWN).join('\n')
}

/**
 * Password that is easy to type on a phone: 12 characters out of 32 letters and digits that do not look alike, 60 bits.
 */
function newPassword(): string {
  const letters = 'abcdefghijkmnpqrstuvwxyz23456789'
  return Array.from(randomBytes(12), (byte) => letters[byte % letters.length]).join('')
}

/**
 * @param wanted  the address; true for the first address
 * @throws GatewayError CONFIG_INVALID if the address is not an address of this machine's networks
 */
function lanAddress(wanted: string | true): string {
  const all = Object.values(networkInterfaces())
    .flatMap((addresses) => addresses ?? [])
    .flatMap(({ family, internal, address }) => (family === 'IPv4' && !internal ? [address] : []))
  const [first] = all
  if (first === undefined) throw new GatewayError('CONFIG_INVALID', 'this machine has no network for --lan')
  if (wanted === true) return first
  if (all.includes(wanted)) return wanted
  throw new GatewayError(
    'CONFIG_INVALID',
    `--lan is ${JSON.stringify(wanted.slice(0, 100))}, which is no address of this machine; allowed: ${all.join(', ')}`,
  )
}

async function freePort(): Promise<number> {
  const probe = createServer().listen(0, '127.0.0.1')
  await once(probe, 'listening')
  const { port } = probe.address() as AddressInfo
  await new Promise((resolve) => probe.close(resolve))
  return port
}

function isFreeUdp(address: string, port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const probe = createSocket('udp4')
    probe.once('error', () => probe.close(() => resolve(false)))
    probe.bind({ port, address, exclusive: true }, () => probe.close(() => resolve(true)))
  })
}

/** First port of a range of 100 free ports. Asterisk skips ports that are in use. */
async function freeRtpPorts(address: string): Promise<number> {
  for (let port = 10_000; port < 60_000; port += 100) if (await isFreeUdp(address, port)) return port
  throw new GatewayError('PORT_IN_USE', 'no UDP port for sound is free')
}

import { randomBytes } from 'node:crypto'
import { createSocket } from 'node:dgram'
import { once } from 'node:events'
import { mkdir, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { findAsterisk, type FoundAsterisk, OwnAsterisk } from '../../src/exchange/own-asterisk.js'
import { messageOf } from '../../src/core/errors.js'
import { endsWith, type Run, mkondo, takesCalls } from '../cli/mkondo-process.js'
import { freePorts } from './free-ports.js'
import { type PhoneNetwork, SipPhone } from './sip-phone.js'
import { until } from './until.js'
import type { PhoneCodec } from './wire-codecs.js'

const SECRET = randomBytes(24).toString('hex')
/**
 * Number of ports: the gateway's ports for two processes and a spare process, their ops ports, and the ports of
 * exchange, REST API and Asterisk.
 */
const PORTS = 10
/** Account whose number belongs to a customer of the demo's shop, with one open order. */
export const CUSTOMER = '210'
export const CUSTOMER_NUMBER = '+254700000001'
/** Accounts of twenty more callers, each with a separate number. */
export const CALLERS: readonly string[] = Array.from({ length: 20 }, (_, i) => String(300 + i))
const RTP_PORTS = 100

/** Number of one of these callers. */
export function numberOf(caller: string): string {
  return `+2547000001${caller.slice(1)}`
}

/**
 * Asterisk of the machine, or of the folder `ASTERISK_ROOT` (`.ci/more` makes it). Null if there is none: the tests are
 * skipped, with the reason printed.
 */
export async function testAsterisk(): Promise<FoundAsterisk | null> {
  try {
    return await findAsterisk(process.env['ASTERISK_ROOT'] ?? null)
  } catch (thrown) {
    // Not imported for a bench, which prints no TAP.
    const { default: t } = await import('tap')
    t.comment(`SKIPPED, no telephone is tested: ${messageOf(thrown)}`)
    return null
  }
}

/**
 * Exchange of a test. Number 100 leads to an agent. +254720000010, the human of the shipped agents, and +254720000020
 * ring phones.
 */
export interface OwnExchange {
  readonly asterisk: OwnAsterisk
  readonly exchange: Run
  readonly gateway: Run
  readonly opsUrl: string
  readonly restUrl: string
  readonly key: string
  /** Port at which other SIP phones register, with the accounts of this file and `password`. */
  readonly sipPort: number
  readonly password: string
  phone(user: string, codec?: PhoneCodec, network?: PhoneNetwork): Promise<SipPhone>
  /** Counts of the exchange. */
  status(): Promise<Readonly<Record<string, number>>>
  /** Starts the exchange again, after it was ended. */
  restart(): Promise<Run>
}

/** A test, or the run of a bench. */
interface Owner {
  /** Registers `stop` for the owner's end. */
  readonly teardown: (stop: () => unknown) => void
  /** @returns a folder that is removed at the owner's end */
  readonly testdir: () => string
}

interface MoreOfExchange {
  /** Texts of agents by the name of their file, in place of the shipped agents; the gateway then places calls too. */
  readonly agents?: Readonly<Record<string, string>>
  /** Additional numbers and their agents. */
  readonly numbers?: Readonly<Record<string, string>>
  /** Additional rules for phones that may be rung. */
  readonly dial?: readonly string[]
  /** Headers in the webhooks. */
  readonly headers?: readonly string[]
  /** Number of gateway processes, 1 or 2. Their ops ports are consecutive. */
  readonly processes?: number
}

/** Starts the gateway's and the exchange's processes, and an Asterisk; all end with their owner. */
export async function ownExchange(
  t: Owner,
  found: FoundAsterisk,
  agent = 'order-status',
  more: MoreOfExchange = {},
): Promise<OwnExchange> {
  const { agents, numbers = {}, dial = [], headers = [], processes = 1 } = more
  const gatewayPort = await freePorts(PORTS)
  const [opsPort, exchangePort, restPort, httpPort] = [4, 7, 8, 9].map((i) => gatewayPort + i) as [
    number,
    number,
    number,
    number,
  ]
  const sipPort = await freeUdpPort()
  // Asterisk skips ports of the range that are in use.
  const rtpPort = 2 * Math.floor((await freeUdpPort()) / 2)
  const keys = { SAUTIKIT_API_KEY: `key_${SECRET}`, SAUTIKIT_WEBHOOK_SECRETS: SECRET, HANDOFF_SECRET: SECRET }
  const restUrl = `http://127.0.0.1:${restPort}`
  const folder = t.testdir()
  await mkdir(join(folder, 'agents'), { recursive: true })
  for (const [file, text] of Object.entries(agents ?? {})) await writeFile(join(folder, 'agents', file), text)
  const gateway = mkondo(['serve', '--with-shop', ...(processes === 1 ? [] : ['--processes', String(processes)])], {
    ...{ ...keys, PORT: String(gatewayPort), OPS_PORT: String(opsPort), HOST: '127.0.0.1', SAUTIKIT_API_URL: restUrl },
    DATA_DIR: join(folder, 'data'),
    HANDOFF_URL: `http://127.0.0.1:${exchangePort}/handoff`,
    ...(agents === undefined
      ? {}
      : { AGENTS_DIR: join(folder, 'agents'), PUBLIC_URL: `http://127.0.0.1:${gatewayPort}` }),
  })
  endsWith(t, gateway, processes === 1 ? 'SIGKILL' : 'SIGQUIT')
  const ari = { user: 'mkondo', password: SECRET }
  const start = async (): Promise<Run> => {
    const run = mkondo(
      [
        ...['exchange', '--number', `100=${agent}`, '--number', `+254700000000=${agent}`],
        ...Object.entries(numbers).flatMap(([number, its]) => ['--number', `${number}=${its}`]),
        ...headers.flatMap((name) => ['--header', name]),
        ...[
          '--gateway',
          `http://127.0.0.1:${gatewayPort}`,
          '--port',
          String(exchangePort),
          '--api-port',
          String(restPort),
        ],
        ...['+254720000010=PJSIP/201', '+254720000020=PJSIP/202', ...dial].flatMap((rule) => ['--dial', rule]),
        ...['--asterisk', `http://127.0.0.1:${httpPort}`, '--calls', '20'],
      ],
      { ...keys, EXCHANGE_SECRET: SECRET, EXCHANGE_ARI_PASSWORD: SECRET },
    )
    endsWith(t, run)
    return run
  }
  const exchange = await start()
  await takesCalls(gateway)
  const asterisk = await OwnAsterisk.start({
    ...{
      asterisk: found,
      address: '127.0.0.1',
      sipPort,
      rtpPort: Math.min(rtpPort, 65_535 - RTP_PORTS),
      httpPort,
      ari,
    },
    accounts: [
      ...['200', '201', '202'].map((user) => ({ user, password: SECRET })),
      { user: CUSTOMER, password: SECRET, number: CUSTOMER_NUMBER },
      ...CALLERS.map((user) => ({ user, password: SECRET, number: numberOf(user) })),
    ],
    numbers: ['100', '999', '+254700000000', ...Object.keys(numbers)],
    exchange: { address: `127.0.0.1:${exchangePort}`, secret: SECRET, headers },
  })
  t.teardown(() => asterisk.stop())
  const status = async (): Promise<Readonly<Record<string, number>>> => {
    const authorization = `Basic ${Buffer.from(`mkondo:${SECRET}`).toString('base64')}`
    const response = await fetch(`http://127.0.0.1:${exchangePort}/status`, { headers: { authorization } })
    return (await response.json()) as Readonly<Record<string, number>>
  }
  const isConnected = async (): Promise<boolean> => (await status().catch(() => null))?.['asteriskConnected'] === 1
  await until(isConnected, 10_000, 'an exchange that is connected to Asterisk')
  return {
    ...{
      asterisk,
      exchange,
      gateway,
      opsUrl: `http://127.0.0.1:${opsPort}`,
      restUrl,
      key: keys.SAUTIKIT_API_KEY,
      sipPort,
      password: SECRET,
      status,
    },
    phone: async (user, codec = 'ulaw', network = { loss: 0, jitterMs: 0 }) => {
      const phone = await SipPhone.start({ server: sipPort, user, password: SECRET, codec, network })
      t.teardown(() => phone.close())
      return phone
    },
    restart: async () => {
      const run = await start()
      await until(isConnected, 10_000, 'an exchange that is connected again')
      return run
    },
  }
}

/** `freePorts` occupies the UDP ports of its numbers. */
export async function freeUdpPort(): Promise<number> {
  const probe = createSocket('udp4')
  probe.bind(0, '127.0.0.1')
  await once(probe, 'listening')
  const { port } = probe.address()
  probe.close()
  return port
}

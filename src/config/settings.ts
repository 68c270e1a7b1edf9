import { availableParallelism, hostname } from 'node:os'
import { NODE_NAME, nodeNameOf } from '../fleet/node-name.js'
import { REDIS_URL_FORM, parseRedisUrl } from '../fleet/store/redis-url.js'
import { parseNetwork } from '../edge/http/client-address.js'
import { INTERNAL_PORT_DEFAULT } from '../core/limits.js'
import { apiKey, define, integer, modelName, named, oneOf, optional, secret, text, url } from '../core/setting.js'
import type { Kind, Setting } from '../core/setting.js'
import type { SayAction } from '../sautikit/actions.js'
import { COUNTRY_DEFAULT, isCountry } from '../sautikit/phone.js'
import { API_PATHS, isApiPath } from '../sautikit-api/api-paths.js'
import { LOG_LEVELS, parseLogSettings } from '../telemetry/log.js'
import type { FsyncPolicy } from '../telemetry/archive/archive-messages.js'
import type { TranscriptPolicy } from '../telemetry/archive/redaction.js'
import type { LogSettings } from '../telemetry/log.js'
import { VENDOR_SETTINGS } from '../vendors/list.js'

/** Networks of trusted proxies. */
const TRUSTED_PROXIES_MAX = 64
/** Secrets that may have signed a webhook: a forged signature costs one HMAC over 16 KiB for each. */
const WEBHOOK_SECRETS_MAX = 16
/** Secrets in TOKEN_SECRET: two while one is replaced by the other. */
const TOKEN_SECRETS_MAX = 2
/** Master keys in STORAGE_KEYS: two while one is replaced by the other. */
const STORAGE_KEYS_MAX = 2

const logLevels: Kind<LogSettings> = {
  allowed: `one of ${LOG_LEVELS.join(', ')}, and component=level for single components, separated by commas`,
  parse: (value) => {
    try {
      return parseLogSettings(value)
    } catch {
      return undefined // the caller reports it with the setting's name
    }
  },
}

const origin = (...protocols: readonly string[]): Kind<string> => {
  const base = url(...protocols)
  return {
    allowed: `${base.allowed}, without a path`,
    parse: (value) => {
      const parsed = base.parse(value)
      return parsed !== undefined && new URL(parsed).pathname === '/' ? new URL(parsed).origin : undefined
    },
  }
}

/** Placeholders of NODE_URL and INTERNAL_URL. */
export const PROCESS_PLACE = '{process}'
export const NODE_PLACE = '{node}'

/**
 * A URL of a node, in which `{process}` is replaced by the number of a process and `{node}` by the node's name.
 * @param shape  of the URL without its protocol
 */
const nodeOrigin = (allowed: string, shape: RegExp): Kind<string> => ({
  allowed,
  parse: (value) => {
    const trimmed = value.replace(/\/+$/, '')
    const plain = placed(trimmed, 'x', 0)
    return /^https?:\/\//.test(plain) && URL.canParse(plain) && shape.test(plain.replace(/^https?:\/\//, ''))
      ? trimmed
      : undefined
  },
})

/** A NODE_URL or INTERNAL_URL of one node. */
export function placed(url: string, node: string, process: number): string {
  return url.replaceAll(NODE_PLACE, node).replaceAll(PROCESS_PLACE, String(process))
}

const HOST_AND_PORT = '(?:[A-Za-z0-9.-]{1,253}|\\[[0-9A-Fa-f:.]{2,45}\\])(?::\\d{1,5})?'

const list = (allowed: string, item: RegExp): Kind<readonly string[]> => ({
  allowed,
  parse: (value) => {
    const items = value
      .split(',')
      .map((entry) => entry.trim())
      .filter((entry) => entry !== '')
    return items.length > 0 && items.every((entry) => item.test(entry)) ? items : undefined
  },
})

/** `base` with at most `most` entries. */
const atMost = (most: number, base: Kind<readonly string[]>): Kind<readonly string[]> => ({
  allowed: `${base.allowed}, at most ${most}`,
  parse: (value) => {
    const items = base.parse(value)
    return items === undefined || items.length > most ? undefined : items
  },
})

/** Longest text that the carrier's voice is given in one language. */
const SAY_CHARS_MAX = 500
const LANGUAGE = /^([a-z]{2,3}-[A-Z]{2}): (.+)$/su

/** Texts, each with its language before it; in a file they may be a list. */
const sayings: Kind<readonly SayAction[]> = {
  allowed: `texts with their language, such as en-KE: Sorry. sw-KE: Samahani. (at most ${SAY_CHARS_MAX} characters each, without line breaks)`,
  parse: (value) => {
    const parts = value.trim().split(/[\s,]+(?=[a-z]{2,3}-[A-Z]{2}: )/u)
    const said = parts.flatMap((part): SayAction[] => {
      const [, language, words = ''] = LANGUAGE.exec(part) ?? []
      if (language === undefined || words.length > SAY_CHARS_MAX || /\p{Cc}/u.test(words)) return []
      return [{ verb: 'say', text: words.trim(), language }]
    })
    return said.length === parts.length ? said : undefined
  },
}

const NO_AGENT_SAY: readonly SayAction[] = [
  {
    verb: 'say',
    text: 'Sorry, we cannot take your call right now. Please try again later.',
    language: 'en-KE',
  },
  {
    verb: 'say',
    text: 'Samahani, hatuwezi kupokea simu yako kwa sasa. Tafadhali piga tena baadaye.',
    language: 'sw-KE',
  },
]

const networks: Kind<readonly string[]> = {
  allowed:
    'addresses and networks such as 10.0.0.0/8, 192.0.2.7, 2001:db8::/32, separated by commas; a network of all addresses (/0) is not allowed',
  parse: (value) => {
    const items = value
      .split(',')
      .map((entry) => entry.trim())
      .filter((entry) => entry !== '')
    return items.length > 0 && items.every((entry) => parseNetwork(entry) !== undefined) ? items : undefined
  },
}

const UNIT_MS: Readonly<Record<string, number>> = { '': 1000, s: 1000, m: 60_000, h: 3_600_000 }

/** Milliseconds from `900`, `900s`, `15m` or `1h`. */
const duration = (maxMs: number): Kind<number> => ({
  allowed: `a time such as 900 (seconds), 90s, 15m or 1h, at most ${maxMs / 3_600_000}h`,
  parse: (value) => {
    const match = /^(\d{1,7})([smh]?)$/.exec(value)
    const unitMs = UNIT_MS[match?.[2] ?? '']
    if (match === null || unitMs === undefined) return undefined
    const ms = Number(match[1]) * unitMs
    return ms <= maxMs ? ms : undefined
  },
})

/** Stored part of each call for `mkondo replay`. */
type JournalKind = 'off' | 'decisions' | 'audio'

const journalKind: Kind<JournalKind> = {
  allowed: 'off, decisions (true is the same) or audio',
  parse: (value) =>
    (
      ({ off: 'off', false: 'off', decisions: 'decisions', true: 'decisions', audio: 'audio' }) as Record<
        string,
        JournalKind
      >
    )[value.toLowerCase()],
}

const yesNo: Kind<boolean> = {
  allowed: 'true or false',
  parse: (value) =>
    (
      ({ true: true, 1: true, yes: true, on: true, false: false, 0: false, no: false, off: false }) as Record<
        string,
        boolean
      >
    )[value.toLowerCase()],
}

/** Where the embedded backend and the media engine leave one core to the sockets. */
const defaultWorkers = Math.max(1, Math.min(8, availableParallelism() - 1))

const token = secret(text('at least 16 characters without spaces', /^\S{16,512}$/))
/** All settings, in the order in which `mkondo help settings` prints them. Names are the contract's. */
export const SETTINGS = named({
  port: define({
    kind: integer(0, 65535),
    fallback: 8080,
    help: "The public port, which only the carrier's traffic reaches.",
  }),
  host: define({
    kind: text('a host name or address', /^[\w.:-]{1,255}$/),
    fallback: '127.0.0.1',
    help: 'The address on which the public port listens. Use 0.0.0.0 where the carrier or a load balancer connects from another machine.',
  }),
  opsPort: define({
    kind: integer(0, 65535),
    fallback: 9464,
    help: 'The ops port, with health, metrics, API and console. Process i of --processes uses this port + i.',
  }),
  opsHost: define({
    kind: text('a host name or address', /^[\w.:-]{1,255}$/),
    fallback: '127.0.0.1',
    help: 'The address on which the ops port listens.',
  }),
  opsToken: optional({
    kind: token,
    help: 'The bearer token of the ops port, which allows everything.',
  }),
  opsReadToken: optional({
    kind: token,
    help: 'A second bearer token of the ops port, which allows reading metrics and nothing else.',
  }),
  opsListenToken: optional({
    kind: token,
    help: 'A third bearer token of the ops port, which may hear callers (live calls, recordings, journals), and everything else. Without it nobody may where OPS_TOKEN is set.',
  }),
  insecure: define({
    kind: yesNo,
    fallback: false,
    help: 'Lets the gateway start even if strangers could place calls or use the ops port.',
  }),
  publicUrl: optional({
    kind: origin('https:', 'http:'),
    help: 'The origin at which the carrier reaches the public port.',
  }),
  nodeUrl: optional({
    help: 'With REDIS_URL or --processes: the URL at which the carrier reaches each single node, for its audio. When unset, --processes alone uses PORT + 1 + the number of the process.',
    kind: nodeOrigin(
      'an http:// or https:// URL, with {node} for the name of the node or {process} for the number of the process, such as https://voice.example.com/n/{node}',
      new RegExp(`^${HOST_AND_PORT}(?:/[\\w./-]*)?$`),
    ),
  }),
  tlsCert: optional({
    kind: text('a file'),
    help: 'The file with the certificate of the public port and its chain, as PEM. With TLS_KEY the gateway speaks TLS there itself, and takes up a changed file within 10 s; without them a load balancer ends TLS.',
  }),
  tlsKey: optional({
    kind: text('a file'),
    help: 'The file with the private key of the certificate in TLS_CERT, as PEM without a passphrase.',
  }),
  redisUrl: optional({
    kind: secret({
      allowed: REDIS_URL_FORM,
      parse: (value) => (parseRedisUrl(value) === undefined ? undefined : value),
    }),
    help: 'The Redis (6.2 or later) that the nodes of a fleet share. A single node, or the processes of --processes, need none.',
  }),
  redisPrefix: define({
    kind: text('1 to 64 of A-Z a-z 0-9 . _ : -', /^[\w.:-]{1,64}$/),
    fallback: 'mkondo:',
    help: 'The beginning of every key in Redis. It is the same on all nodes of a fleet, and differs between fleets that share a Redis.',
  }),
  nodeName: define({
    kind: text('1 to 63 of A-Z a-z 0-9 . _ -', NODE_NAME),
    fallback: nodeNameOf(hostname()),
    defaultText: "the machine's host name",
    help: 'The name of this node, which is unique in its fleet and stays the same after a restart. With --processes, -0, -1, … follow it.',
  }),
  internalHost: define({
    kind: text('a host name or address', /^[\w.:-]{1,255}$/),
    fallback: '127.0.0.1',
    help: 'The address on which the internal port listens. The nodes of a fleet and the processes of --processes talk to each other over it.',
  }),
  internalPort: optional({
    kind: integer(0, 65535),
    defaultText: `${INTERNAL_PORT_DEFAULT}; with --processes any free port`,
    help: 'The internal port. Process i of --processes uses this port + i; 0 is any free port.',
  }),
  internalUrl: optional({
    kind: nodeOrigin(
      'an http:// or https:// URL without a path, with {node} or {process} as in NODE_URL; without a port it gets the internal port',
      new RegExp(`^${HOST_AND_PORT}$`),
    ),
    help: 'The origin at which other nodes reach the internal port. When unset, it is INTERNAL_HOST with the internal port.',
  }),
  internalTlsCert: optional({
    kind: text('a file'),
    help: "The file with this node's certificate for TLS on the internal port, which it uses for its listener and for its requests to other nodes.",
  }),
  internalTlsKey: optional({
    kind: text('a file'),
    help: 'The file with the private key of the certificate in INTERNAL_TLS_CERT.',
  }),
  internalTlsCa: optional({
    kind: text('a file'),
    help: "The file with the authorities that sign the nodes' certificates, which both sides of a connection check.",
  }),
  agentsDir: optional({
    kind: text('a folder'),
    help: 'The folder of agent definitions. When unset, the gateway runs the shipped agents.',
  }),
  agentsWatch: define({
    kind: yesNo,
    fallback: true,
    help: 'Applies edits of the agents folder to new calls without a restart.',
  }),
  agentsEdit: define({
    kind: yesNo,
    fallback: false,
    help: 'Lets an operator who may act edit the files of the agents folder in the console, try a draft and publish it (docs/CONSOLE.md). It needs AGENTS_DIR, AGENTS_WATCH and OPS_TOKEN.',
  }),
  numbersFile: optional({
    kind: text('a file or a folder'),
    help: 'The file, or the folder of .yaml files, that says which agent answers each number and with the facts of which business (docs/NUMBERS.md). AGENTS_WATCH follows its edits too. When unset, the URL alone names the agent.',
  }),
  defaultAgent: optional({
    kind: text('the name of an agent', /^[a-z][a-z0-9-]{0,39}$/),
    help: 'The agent that answers POST /voice without a name.',
  }),
  noAgentSay: define<readonly SayAction[]>({
    kind: sayings,
    fallback: NO_AGENT_SAY,
    defaultText: NO_AGENT_SAY.map(({ language, text: words }) => `${language}: ${words}`).join(' '),
    help: 'Words of the carrier to a caller whose number leads to no agent of this gateway, in each language in turn. Then the call ends.',
  }),
  dataDir: define({
    kind: text('a folder'),
    fallback: '.data',
    help: 'The folder for records, recordings and journals of calls. Only one gateway may use it at a time.',
  }),
  keepCalls: define({
    kind: yesNo,
    fallback: true,
    help: 'Keeps records, handoffs and recordings of calls under DATA_DIR, and the encrypted states of live calls, with which a gateway without other nodes goes on after it has died.',
  }),
  recordsFsync: define<FsyncPolicy>({
    kind: oneOf('each', 'second', 'never'),
    fallback: 'second',
    help: 'When records are synced to disk: after each record, once a second, or never.',
  }),
  recordsTranscript: define<TranscriptPolicy>({
    kind: oneOf('full', 'masked', 'none'),
    fallback: 'full',
    help: 'Which words of a call its record has: all words, all words with numbers masked, or none.',
  }),
  recordsNumbers: define<'masked' | 'full'>({
    kind: oneOf('masked', 'full'),
    fallback: 'masked',
    help: 'Masks phone numbers in records, or writes them in full.',
  }),
  recordsFileMb: define({
    kind: integer(1, 4096),
    fallback: 64,
    help: 'The size in MB at which a new file of records begins. A new file also begins each day.',
  }),
  recordsKeepDays: define({
    kind: integer(1, 36_500),
    fallback: 90,
    help: 'How many days records, handoff packets and records of calls whose process died are kept. Records of one day are deleted together.',
  }),
  recordsKeepMb: define({
    kind: integer(1, 100_000_000),
    fallback: 4096,
    help: 'The maximum size of all that RECORDS_KEEP_DAYS applies to, in MB. The oldest files are deleted first.',
  }),
  recordingsKeepDays: define({
    kind: integer(1, 36_500),
    fallback: 30,
    help: "How many days recordings, the carrier's recordings and journals are kept.",
  }),
  recordingsKeepMb: define({
    kind: integer(1, 100_000_000),
    fallback: 20_480,
    help: 'The maximum size of all that RECORDINGS_KEEP_DAYS applies to, in MB. The oldest files are deleted first.',
  }),
  storageBucket: optional({
    kind: text('the name of a bucket', /^[A-Za-z0-9][A-Za-z0-9._-]{1,254}$/),
    help: 'The S3-compatible bucket to which recordings, records and handoff packets are uploaded, encrypted (docs/STORAGE.md). It needs STORAGE_KEYS. Unset: they stay under DATA_DIR.',
  }),
  storageUrl: optional({
    kind: url('https:', 'http:'),
    defaultText: 'that of AWS in STORAGE_REGION',
    help: "The address of the object storage, without the bucket's name.",
  }),
  storageRegion: define({
    kind: text('the name of a region', /^[a-z0-9-]{1,40}$/),
    fallback: 'us-east-1',
    help: 'The region of the bucket. Servers that have none take any.',
  }),
  storagePrefix: define({
    kind: text('1 to 200 of A-Z a-z 0-9 . _ - /, with a / at the end', /^[A-Za-z0-9._-][A-Za-z0-9._/-]{0,198}\/$/),
    fallback: 'mkondo/',
    help: 'Beginning of the names of objects.',
  }),
  storageAccessKeyId: optional({
    kind: secret(text('an access key ID without spaces', /^\S{3,128}$/)),
    help: "The access key ID for the bucket. Unset: what AWS's own SDK finds, such as AWS_ACCESS_KEY_ID or the role of the machine.",
  }),
  storageSecretAccessKey: optional({
    kind: secret(text('a secret access key without spaces', /^\S{3,256}$/)),
    help: 'The secret access key that belongs to STORAGE_ACCESS_KEY_ID.',
  }),
  storageKeys: define<readonly string[]>({
    kind: secret(
      atMost(
        STORAGE_KEYS_MAX,
        list(
          '32 random bytes in base64 (openssl rand -base64 32), or two such keys separated by a comma',
          /^[A-Za-z0-9+/]{43}=$/,
        ),
      ),
    ),
    fallback: [],
    help: "The master key that encrypts the keys of calls' objects. To replace it, set `new,old` and restart: the first encrypts, and the keys below DATA_DIR are encrypted anew; then `new`. Whoever loses it loses what is in the bucket.",
  }),
  analysesPerHour: define({
    kind: integer(0, 100_000),
    fallback: 600,
    help: "How many ended calls the text model may be asked about in an hour, where the agent's file has `analysis` (docs/ANALYSIS.md). Beyond, and with 0, only what the gateway knows is filled in.",
  }),
  handoffUrl: optional({
    kind: url('https:', 'http:'),
    help: 'The webhook that receives the handoff packet of each escalation and each callback request (docs/MESSAGES.md).',
  }),
  handoffSecret: optional({
    kind: token,
    help: 'The secret that signs the requests to HANDOFF_URL.',
  }),
  messagesFile: optional({
    kind: text('the path of a file'),
    help: 'The file with the receivers of messages: who gets one when a call has ended, a human is wanted, or a call back is promised (docs/MESSAGES.md).',
  }),
  journalCalls: define({
    kind: journalKind,
    fallback: 'off',
    help: "Keeps a journal of each call under DATA_DIR for `mkondo replay`; `audio` also keeps the caller's audio. RECORDS_TRANSCRIPT `none` keeps no journal.",
  }),
  apiKey: optional({
    env: 'SAUTIKIT_API_KEY',
    kind: apiKey,
    help: "The key for the carrier's REST API. Without it the gateway cannot hang up, place calls or add a human through that API.",
  }),
  apiUrl: define({
    env: 'SAUTIKIT_API_URL',
    kind: url('https:', 'http:'),
    fallback: 'https://api.sautikit.com',
    help: "The origin of the carrier's REST API.",
  }),
  apiPaths: define<readonly string[]>({
    env: 'SAUTIKIT_API_PATHS',
    fallback: [],
    kind: {
      allowed: `one or more of ${API_PATHS.join(', ')}, separated by commas`,
      parse: (value) => {
        const names = value
          .split(',')
          .map((name) => name.trim())
          .filter((name) => name !== '')
        return names.every(isApiPath) ? names : undefined
      },
    },
    help: "Which form of each request to the carrier's REST API is tried first. The other forms follow.",
  }),
  carrierRecordings: define({
    kind: yesNo,
    fallback: true,
    help: "Keeps the carrier's own recording of a call, if there is one, under DATA_DIR.",
  }),
  outboundPerMinute: define({
    kind: integer(1, 6000),
    fallback: 30,
    help: 'How many calls may be placed in a minute, by all processes of one machine together; other machines of a fleet count for themselves.',
  }),
  recoveryPerMinute: define({
    kind: integer(0, 600),
    fallback: 30,
    help: 'How many callers whose calls were lost may be called back in a minute, by all processes of one machine together; other machines of a fleet count for themselves. With 0 no caller is called back.',
  }),
  country: define({
    kind: {
      allowed: 'a country of ISO 3166-1 in two letters, such as KE',
      parse: (value) => (isCountry(value.toUpperCase()) ? value.toUpperCase() : undefined),
    },
    fallback: COUNTRY_DEFAULT,
    help: 'The country of phone numbers that are written without a country code: with KE, `0712345678` and `712345678` are +254712345678 wherever numbers are compared.',
  }),
  callerCalls: define({
    kind: integer(1, 20_000),
    fallback: 3,
    help: 'How many live calls one phone number may have, at all nodes together. Further calls of it hear `say.busy` of the agent.',
  }),
  callerCallsPerMinute: define({
    kind: integer(1, 6000),
    fallback: 10,
    help: 'How many new calls of one phone number each process takes in a minute. Further calls of it hear `say.busy` of the agent.',
  }),
  callerLimitsExempt: define<readonly string[]>({
    kind: list('phone numbers such as +254700000001, separated by commas', /^\+?\d{2,15}$/),
    fallback: [],
    help: 'Phone numbers to which CALLER_CALLS and CALLER_CALLS_PER_MINUTE do not apply, such as the exchange of an office from which many people call.',
  }),
  withheldCallsPercent: define({
    kind: integer(1, 100),
    fallback: 50,
    help: 'The share of the slots, in percent, that all callers with a withheld number may have together. Use 100 where the carrier names no callers.',
  }),
  humanCallsPerMinute: define({
    kind: integer(1, 6000),
    fallback: 20,
    help: 'How often one number of a human may be rung in a minute, by all processes of one machine together; other machines of a fleet count for themselves. Beyond that an escalation goes on with the next number or the offer of a call back.',
  }),
  fallbackDialsPerMinute: define({
    kind: integer(0, 6000),
    fallback: 30,
    help: 'How many callers who get no agent may be sent to a human in a minute, by all processes of one machine together; other machines of a fleet count for themselves. Further ones hear `say.busy` of the agent. With 0 none are.',
  }),
  outboundPrefixes: define<readonly string[]>({
    kind: list('beginnings of phone numbers such as +254, separated by commas', /^\+\d{1,14}$/),
    fallback: [],
    help: 'The beginnings of the phone numbers that may be called. When unset, numbers in the country of the number that calls may be. Premium, shared-cost, personal and satellite numbers are called only where one of them is the beginning of their range, such as +254900, or the whole number (docs/CAMPAIGNS.md).',
  }),
  callBacksPerNumberDay: define({
    kind: integer(0, 100),
    fallback: 2,
    help: 'How many call backs to one number may be promised in 24 hours, by all nodes together. With 0 none are.',
  }),
  callBacksPerNumberWeek: define({
    kind: integer(0, 100),
    fallback: 4,
    help: 'How many call backs to one number may be promised in seven days, by all nodes together. With 0 none are.',
  }),
  callBacksPerCallerDay: define({
    kind: integer(0, 100),
    fallback: 3,
    help: 'How many call backs one caller may be promised in 24 hours, to whichever numbers, by all nodes together. With 0 none are.',
  }),
  afterStream: define<'learn' | 'continues' | 'holds'>({
    env: 'SAUTIKIT_AFTER_STREAM',
    kind: oneOf('learn', 'continues', 'holds'),
    fallback: 'learn',
    help: 'After-stream behaviour of the carrier, when the stream of a call closes: it continues the call, or holds it in silence. With `learn` the gateway finds out from the calls. It decides whether a stream is closed on purpose, as for an escalation; a carrier that asks how a call continues is always answered.',
  }),
  webhookSecrets: define<readonly string[]>({
    env: 'SAUTIKIT_WEBHOOK_SECRETS',
    kind: secret(
      atMost(WEBHOOK_SECRETS_MAX, list('secrets of 8 or more characters, separated by commas', /^\S{8,512}$/)),
    ),
    fallback: [],
    help: 'The secrets with which the carrier may sign its webhooks.',
  }),
  trustedProxies: define<readonly string[]>({
    kind: atMost(TRUSTED_PROXIES_MAX, networks),
    fallback: [],
    help: "The proxies whose X-Forwarded-For header gives a client's address. When unset, no proxy is trusted.",
  }),
  bareSignatures: define({
    env: 'SAUTIKIT_BARE_SIGNATURES',
    kind: yesNo,
    fallback: false,
    help: 'Accepts signatures without a timestamp (bare hex) too. Such a webhook can be replayed at any time.',
  }),
  tokenOnly: define<'learn' | 'refuse' | 'accept'>({
    env: 'SAUTIKIT_TOKEN_ONLY',
    kind: oneOf('learn', 'refuse', 'accept'),
    fallback: 'learn',
    help: 'Accepts, with SAUTIKIT_WEBHOOK_SECRETS, a post to /after-stream, /stream-status or /human for the token in its URL alone, without a valid signature. With `learn` it does, on each route, until the first post with a valid signature has come there. A post that says that a call is over always needs one.',
  }),
  continueSecrets: define<readonly string[]>({
    kind: secret(
      atMost(
        WEBHOOK_SECRETS_MAX,
        list(
          'secrets of Standard Webhooks (whsec_ and base64), separated by commas',
          /^whsec_[A-Za-z0-9+/]{16,512}={0,2}$/,
        ),
      ),
    ),
    fallback: [],
    help: 'The secrets with which the APIs of tools that wait sign what they post to a continuation URL (docs/WAITING.md). When unset, the token in that URL is enough.',
  }),
  tokenSecrets: define<readonly string[]>({
    env: 'TOKEN_SECRET',
    kind: secret(
      atMost(
        TOKEN_SECRETS_MAX,
        list('a secret of at least 16 characters, or two separated by a comma', /^.{16,512}$/s),
      ),
    ),
    fallback: [],
    defaultText: 'random at each start',
    help: "The secret that protects the tokens in the gateway's URLs, the requests between nodes, and the states of live calls in Redis or on the disk. A fleet requires it, and all its nodes have the same one. A gateway without other nodes goes on with its calls after it has died only if it is set. To replace it, set two, separated by a comma: the first one signs, both are accepted.",
  }),
  autoBackend: optional({
    kind: oneOf('openai', 'openai-live', 'gemini', 'azure-voice-live', 'self-hosted', 'cascade', 'embedded'),
    help: 'The backend that an agent with `backend: auto` uses. When unset, it is the first of openai, gemini and embedded that is configured. If it fails, embedded takes over for agents with an `offline:` block.',
  }),
  ...VENDOR_SETTINGS,
  realtimeUrl: optional({
    kind: url('https:', 'http:', 'wss:', 'ws:'),
    help: "The address of a realtime server that speaks OpenAI's protocol, which the backend self-hosted needs.",
  }),
  realtimeApiKey: optional({
    kind: apiKey,
    help: 'The API key for the server at REALTIME_URL, if it requires one.',
  }),
  realtimeModel: define({
    kind: modelName,
    fallback: 'default',
    help: 'The model or pipeline of the server at REALTIME_URL.',
  }),
  realtimeDialect: define<'ga' | 'beta'>({
    kind: oneOf('ga', 'beta'),
    fallback: 'ga',
    help: "The form of the protocol that the server at REALTIME_URL speaks: OpenAI's current one (`ga`), or the flat session of its beta.",
  }),
  realtimeTurns: define<'server_vad' | 'semantic_vad' | 'gateway'>({
    kind: oneOf('server_vad', 'semantic_vad', 'gateway'),
    fallback: 'server_vad',
    help: "Who decides that the caller has finished speaking on the backend self-hosted, unless the agent says so: one of the server's two detectors, or the gateway.",
  }),
  realtimeRateHz: define<'16000' | '24000'>({
    kind: oneOf('16000', '24000'),
    fallback: '24000',
    help: 'The sample rate, in Hz, of the audio to and from the server at REALTIME_URL.',
  }),
  pricesFile: optional({
    kind: text('the path of a file'),
    help: "The file with your prices of models, which take precedence over the vendors' public prices, the carrier's rates and exchange rates (docs/COST.md).",
  }),
  currency: define({
    kind: text('three letters, such as KES', /^[A-Z]{3}$/),
    fallback: 'USD',
    help: "The currency of a call's whole cost. Amounts in another one are converted by the exchange rates of PRICES_FILE, and are unknown without (docs/COST.md).",
  }),
  backendMessageMs: optional({
    kind: integer(20, 100),
    help: "How much of the caller's audio, in ms, one message to a realtime model holds. When unset, it is 60, and 20 while a model that detects the end of speech itself may be waiting for it.",
  }),
  backendStreamSilence: define({
    kind: yesNo,
    fallback: false,
    help: 'Sends the silence between turns also to a model that detects the end of speech itself (docs/BACKENDS.md, "Silence between turns").',
  }),
  backendReconnectsPerSecond: define({
    kind: integer(1, 1000),
    fallback: 25,
    help: 'How many calls whose sessions broke each process connects to one backend again in a second. The others wait for their turn, 10 s at most.',
  }),
  mediaWorkers: define({
    kind: integer(1, 64),
    fallback: defaultWorkers,
    defaultText: 'one less than the number of processors, from 1 to 8',
    help: 'The number of media worker threads, of all processes together.',
  }),
  workerMemoryMb: optional({
    kind: integer(64, 16_384),
    help: 'The memory of one media worker in MB. The limit applies to its heap, and again to its buffers. When unset, it is 256 and 1 for each call.',
  }),
  speechWorkers: define({
    kind: integer(1, 4),
    fallback: 1,
    help: 'The number of threads for the embedded recogniser and voice.',
  }),
  speechDecoders: define({
    kind: integer(1, 16),
    fallback: 4,
    help: 'How many callers the embedded recogniser hears at once, for each speech worker. Each needs 28 MB.',
  }),
  maxCalls: define({
    kind: integer(1, 20_000),
    fallback: 200,
    help: 'The maximum number of concurrent calls, of all processes together.',
  }),
  maxCallSeries: define({
    kind: integer(0, 20_000),
    fallback: 2000,
    help: 'How many live calls /metrics/calls shows.',
  }),
  drainTimeoutMs: define({
    env: 'DRAIN_TIMEOUT',
    kind: duration(24 * 3_600_000),
    fallback: 900_000,
    defaultText: '15m',
    help: 'How long the gateway lets calls finish after SIGTERM. Then another node or process continues them; without one they hear a goodbye.',
  }),
  shopApiUrl: optional({
    kind: url('https:', 'http:'),
    help: 'The address of the API for orders and accounts that the shipped agents use.',
  }),
  otlpEndpoint: optional({
    env: 'OTEL_EXPORTER_OTLP_ENDPOINT',
    kind: url('https:', 'http:'),
    help: 'The OTLP/HTTP collector that receives each ended call as spans.',
  }),
  logLevel: define<LogSettings>({
    kind: logLevels,
    fallback: { level: 'info', components: {} },
    defaultText: 'info',
    help: 'The lowest level that is logged, for all components and for single ones, as in info,edge=debug.',
  }),
})

type Value<S> = S extends Setting<infer T> ? T : never

/** Every setting's value. */
export type Config = { readonly [K in keyof typeof SETTINGS]: Value<(typeof SETTINGS)[K]> }

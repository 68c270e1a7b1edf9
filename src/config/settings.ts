import { availableParallelism, hostname } from 'node:os'
import { NODE_NAME, nodeNameOf } from '../fleet/node-name.js'
import { REDIS_URL_FORM, parseRedisUrl } from '../fleet/store/redis-url.js'
import { parseNetwork } from '../edge/http/client-address.js'
import { INTERNAL_PORT_DEFAULT } from '../core/limits.js'
import { apiKey, define, integer, named, oneOf, optional, secret, text, url } from '../core/setting.js'
import type { Kind, Setting } from '../core/setting.js'
import type { SayAction } from '../sautikit/actions.js'
import { COUNTRY_DEFAULT, isCountry } from '../sautikit/phone.js'
import { API_PATHS, isApiPath } from '../sautikit-api/api-paths.js'
import { LOG_LEVELS, parseLogSettings } from '../telemetry/log.js'
import type { FsyncPolicy } from '../telemetry/archive/archive-messages.js'
import type { TranscriptPolicy } from '../telemetry/archive/redaction.js'
import type { LogSettings } from '../telemetry/log.js'
import { BACKENDS, VENDOR_SETTINGS } from '../vendors/list.js'

/** Maximum number of networks of trusted proxies. */
const TRUSTED_PROXIES_MAX = 64
/**
 * Maximum number of secrets that may sign webhooks. To reject a forged signature, the gateway computes one HMAC over 16
 * KiB for each secret.
 */
const WEBHOOK_SECRETS_MAX = 16
/** Maximum number of secrets in TOKEN_SECRET: two while one replaces the other. */
const TOKEN_SECRETS_MAX = 2
/** Maximum number of master keys in STORAGE_KEYS: two while one replaces the other. */
const STORAGE_KEYS_MAX = 2

const logLevels: Kind<LogSettings> = {
  allowed: `one of ${LOG_LEVELS.join(', ')}, and component=level for single components, separated by commas`,
  parse: (value) => {
    try {
      return parseLogSettings(value)
    } catch {
      return undefined // the code that reads the setting reports the fault with the setting's name
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
 * Kind of a node's URL, in which `{process}` is replaced by the process's number and `{node}` by the node's name.
 * @param shape  form of the URL without its protocol
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

/** Returns the value of NODE_URL or INTERNAL_URL for one process of a node. */
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

/** The kind `base`, but with at most `most` entries. */
const atMost = (most: number, base: Kind<readonly string[]>): Kind<readonly string[]> => ({
  allowed: `${base.allowed}, at most ${most}`,
  parse: (value) => {
    const items = base.parse(value)
    return items === undefined || items.length > most ? undefined : items
  },
})

/** Maximum length of a text for the carrier's voice in one language, in characters. */
const SAY_CHARS_MAX = 500
const LANGUAGE = /^([a-z]{2,3}-[A-Z]{2}): (.+)$/su

/** Texts, each with its language before it; in a file the texts may be a list. */
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
    'addresses and networks such as 10.0.0.0/8, 192.0.2.7, 2001:db8::/32, separated by commas; a network of all addresses (/0) is refused',
  parse: (value) => {
    const items = value
      .split(',')
      .map((entry) => entry.trim())
      .filter((entry) => entry !== '')
    return items.length > 0 && items.every((entry) => parseNetwork(entry) !== undefined) ? items : undefined
  },
}

const UNIT_MS: Readonly<Record<string, number>> = { '': 1000, s: 1000, m: 60_000, h: 3_600_000 }

/** Duration in milliseconds, written as `900`, `900s`, `15m` or `1h`. */
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

/** Part of each call that is stored for `mkondo replay`. */
type JournalKind = 'off' | 'decisions' | 'audio'

const journalKind: Kind<JournalKind> = {
  allowed: 'off, decisions (or true) or audio',
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

/** Default of WORKERS: one less than the number of cores, and at most 8. The remaining core is for the sockets. */
const defaultWorkers = Math.max(1, Math.min(8, availableParallelism() - 1))

/** Default number of recogniser threads in one of `processes`. */
export const defaultSpeechWorkers = (processes = 1): number =>
  Math.max(1, Math.floor(Math.min(4, Math.floor(availableParallelism() / 2)) / processes))

const token = secret(text('at least 16 characters without spaces', /^\S{16,512}$/))
/**
 * All settings, in the order in which `mkondo help settings` prints them. Their names are part of the public contract.
 */
export const SETTINGS = named({
  port: define({
    kind: integer(0, 65535),
    fallback: 8080,
    help: "The public port. It is only for the carrier's traffic.",
  }),
  host: define({
    kind: text('a host name or address', /^[\w.:-]{1,255}$/),
    fallback: '127.0.0.1',
    help: 'The address on which the public port listens. Use 0.0.0.0 if the carrier or a load balancer connects from another machine.',
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
    help: 'A second bearer token of the ops port, which only allows reading metrics.',
  }),
  opsListenToken: optional({
    kind: token,
    help: 'A third bearer token of the ops port. It allows everything that OPS_TOKEN allows, and also access to the voices and words of callers (live calls, recordings, journals). If OPS_TOKEN is set, only this token allows that access.',
  }),
  insecure: define({
    kind: yesNo,
    fallback: false,
    help: 'Lets the gateway start even if its settings let strangers place calls or use the ops port.',
  }),
  publicUrl: optional({
    kind: origin('https:', 'http:'),
    help: 'The origin at which the carrier reaches the public port.',
  }),
  nodeUrl: optional({
    help: 'With REDIS_URL or --processes: the URL at which the carrier reaches this node for the audio of its calls. Without NODE_URL and REDIS_URL, process i of --processes uses port PORT + 1 + i.',
    kind: nodeOrigin(
      'an http:// or https:// URL, with {node} for the name of the node or {process} for the number of the process, such as https://voice.example.com/n/{node}',
      new RegExp(`^${HOST_AND_PORT}(?:/[\\w./-]*)?$`),
    ),
  }),
  tlsCert: optional({
    kind: text('a file'),
    help: 'The PEM file with the certificate of the public port and its chain. With TLS_CERT and TLS_KEY the public port uses TLS, and reads a changed file within 10 s. Without TLS_CERT and TLS_KEY a load balancer must terminate TLS.',
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
    help: 'The Redis (6.2 or later) that the nodes of a fleet share. A single node, or the processes of --processes, do not need it.',
  }),
  redisPrefix: define({
    kind: text('1 to 64 characters of A-Z a-z 0-9 . _ : -', /^[\w.:-]{1,64}$/),
    fallback: 'mkondo:',
    help: 'The beginning of every key in Redis. It must be equal on all nodes of a fleet, and must differ between fleets that share a Redis.',
  }),
  nodeName: define({
    kind: text('1 to 63 characters of A-Z a-z 0-9 . _ -', NODE_NAME),
    fallback: nodeNameOf(hostname()),
    defaultText: "the machine's host name",
    help: 'The name of this node. It must be unique in its fleet, and must not change at a restart. With --processes the gateway adds -0, -1 and so on.',
  }),
  internalHost: define({
    kind: text('a host name or address', /^[\w.:-]{1,255}$/),
    fallback: '127.0.0.1',
    help: 'The address on which the internal port listens. The nodes of a fleet, and the processes of --processes, use this port for their requests to each other.',
  }),
  internalPort: optional({
    kind: integer(0, 65535),
    defaultText: `${INTERNAL_PORT_DEFAULT}; with --processes any free port`,
    help: 'The internal port. Process i of --processes uses this port + i. 0 means any free port.',
  }),
  internalUrl: optional({
    kind: nodeOrigin(
      'an http:// or https:// URL without a path, with {node} or {process} as in NODE_URL; without a port it gets the internal port',
      new RegExp(`^${HOST_AND_PORT}$`),
    ),
    help: 'The origin at which other nodes reach the internal port. Default: INTERNAL_HOST with the internal port.',
  }),
  internalTlsCert: optional({
    kind: text('a file'),
    help: "The file with this node's certificate for TLS on the internal port. The node uses it for its listener and for its requests to other nodes.",
  }),
  internalTlsKey: optional({
    kind: text('a file'),
    help: 'The file with the private key of the certificate in INTERNAL_TLS_CERT.',
  }),
  internalTlsCa: optional({
    kind: text('a file'),
    help: "The file with the certificate authorities that sign the nodes' certificates. Both nodes of a connection check each other's certificate.",
  }),
  agentsDir: optional({
    kind: text('a folder'),
    help: 'The folder of agent files. If it is unset, the gateway runs the shipped agents.',
  }),
  agentsWatch: define({
    kind: yesNo,
    fallback: true,
    help: 'Applies edits of the agents folder to new calls without a restart.',
  }),
  agentsEdit: define({
    kind: yesNo,
    fallback: false,
    help: 'Lets operators with write access edit files of the agents folder in the console, test a draft and publish it (docs/CONSOLE.md). This setting needs AGENTS_DIR, AGENTS_WATCH and OPS_TOKEN.',
  }),
  numbersFile: optional({
    kind: text('a file or a folder'),
    help: 'The file, or the folder of .yaml files, with the agent and the business facts of each number (docs/NUMBERS.md). With AGENTS_WATCH, edits of this file apply to new calls too. Without NUMBERS_FILE, only the URL of a webhook selects the agent.',
  }),
  defaultAgent: optional({
    kind: text('the name of an agent', /^[a-z][a-z0-9-]{0,39}$/),
    help: 'The agent that answers POST /voice without a name.',
  }),
  noAgentSay: define<readonly SayAction[]>({
    kind: sayings,
    fallback: NO_AGENT_SAY,
    defaultText: NO_AGENT_SAY.map(({ language, text: words }) => `${language}: ${words}`).join(' '),
    help: "Texts that the carrier's voice speaks if the called number has no agent at this gateway, one language after the other. Then the call ends.",
  }),
  agentEnv: define<readonly string[]>({
    kind: list('names of environment variables, separated by commas', /^[A-Za-z_]\w{0,99}$/),
    fallback: ['SHOP_API_URL'],
    defaultText: 'SHOP_API_URL',
    help: 'The environment variables that agent files (`{{env.NAME}}`) and code of agents may read. They cannot read others. The shipped agents read SHOP_API_URL. A secret setting of the gateway cannot be listed.',
  }),
  dataDir: define({
    kind: text('a folder'),
    fallback: '.data',
    help: 'The folder for records, recordings and journals of calls. Only one gateway may use it at a time.',
  }),
  keepCalls: define({
    kind: yesNo,
    fallback: true,
    help: 'Stores records, handoff packets and recordings of calls under DATA_DIR, and the encrypted states of live calls. If a gateway without other nodes dies and starts again, it continues its calls from these states.',
  }),
  recordsFsync: define<FsyncPolicy>({
    kind: oneOf('each', 'second', 'never'),
    fallback: 'second',
    help: 'Time at which records are synced to disk: after each record, once a second, or never.',
  }),
  recordsTranscript: define<TranscriptPolicy>({
    kind: oneOf('full', 'masked', 'none'),
    fallback: 'full',
    help: 'Transcript in the record of a call. full: all words. masked: all words, with numbers masked. none: no words.',
  }),
  recordsNumbers: define<'masked' | 'full'>({
    kind: oneOf('masked', 'full'),
    fallback: 'masked',
    help: 'Phone numbers in records: masked, or in full.',
  }),
  recordsFileMb: define({
    kind: integer(1, 4096),
    fallback: 64,
    help: 'The size in MB at which a new file of records begins. A new file also begins each day.',
  }),
  recordsKeepDays: define({
    kind: integer(1, 36_500),
    fallback: 90,
    help: 'Number of days for which records and handoff packets are stored, including records of calls whose process died. Records of one day are deleted together.',
  }),
  recordsKeepMb: define({
    kind: integer(1, 100_000_000),
    fallback: 4096,
    help: 'The maximum size, in MB, of the data to which RECORDS_KEEP_DAYS applies. The oldest files are deleted first.',
  }),
  recordingsKeepDays: define({
    kind: integer(1, 36_500),
    fallback: 30,
    help: "Number of days for which recordings, the carrier's recordings and journals are stored.",
  }),
  recordingsKeepMb: define({
    kind: integer(1, 100_000_000),
    fallback: 20_480,
    help: 'The maximum size, in MB, of the data to which RECORDINGS_KEEP_DAYS applies. The oldest files are deleted first.',
  }),
  storageBucket: optional({
    kind: text('the name of a bucket', /^[A-Za-z0-9][A-Za-z0-9._-]{1,254}$/),
    help: 'The S3-compatible bucket to which recordings, records and handoff packets are uploaded, encrypted (docs/STORAGE.md). It needs STORAGE_KEYS. If STORAGE_BUCKET is unset, the files stay under DATA_DIR.',
  }),
  storageUrl: optional({
    kind: url('https:', 'http:'),
    defaultText: 'the address of AWS in STORAGE_REGION',
    help: "The address of the object storage, without the bucket's name.",
  }),
  storageRegion: define({
    kind: text('the name of a region', /^[a-z0-9-]{1,40}$/),
    fallback: 'us-east-1',
    help: 'The region of the bucket. A server without regions accepts any name.',
  }),
  storagePrefix: define({
    kind: text(
      '1 to 200 characters of A-Z a-z 0-9 . _ - /, with a / at the end',
      /^[A-Za-z0-9._-][A-Za-z0-9._/-]{0,198}\/$/,
    ),
    fallback: 'mkondo/',
    help: 'The beginning of the names of objects.',
  }),
  storageAccessKeyId: optional({
    kind: secret(text('an access key ID without spaces', /^\S{3,128}$/)),
    help: 'The access key ID for the bucket. If it is unset, the AWS SDK finds the credentials, for example in AWS_ACCESS_KEY_ID or the role of the machine.',
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
    help: "The master key that encrypts the keys of calls' objects. To replace the master key, set `new,old` and restart: the gateway encrypts with the new key, and encrypts the stored keys below DATA_DIR again. Then set `new`. Without the master key the content of the bucket is lost.",
  }),
  analysesPerHour: define({
    kind: integer(0, 100_000),
    fallback: 600,
    help: "The maximum number of ended calls that a text model analyses in an hour, if the agent's file has `analysis` (docs/ANALYSIS.md). Further calls get an analysis with only the facts that the gateway knows. With 0 this applies to all calls.",
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
    help: 'The file with the receivers of messages about ended calls, requests for a human, and promised call backs (docs/MESSAGES.md).',
  }),
  journalCalls: define({
    kind: journalKind,
    fallback: 'off',
    help: "Stores a journal of each call under DATA_DIR for `mkondo replay`. With `audio` the journal also has the caller's audio. If RECORDS_TRANSCRIPT is `none`, journals are not stored.",
  }),
  apiKey: optional({
    env: 'SAUTIKIT_API_KEY',
    kind: apiKey,
    help: "The key for the carrier's REST API. Without this key the gateway cannot hang up, place calls or add a human through the API.",
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
    help: "The forms of requests to the carrier's REST API that the gateway tries first. If the carrier does not know a form, the gateway tries the other forms.",
  }),
  carrierRecordings: define({
    kind: yesNo,
    fallback: true,
    help: "Stores the carrier's own recording of a call, if there is one, under DATA_DIR.",
  }),
  outboundPerMinute: define({
    kind: integer(1, 6000),
    fallback: 30,
    help: 'The maximum number of calls that all processes of one machine together place in a minute. Each machine of a fleet has its own limit.',
  }),
  recoveryPerMinute: define({
    kind: integer(0, 600),
    fallback: 30,
    help: 'The maximum number of callers with a lost call that all processes of one machine together call back in a minute. Each machine of a fleet has its own limit. With 0 no caller is called back.',
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
    help: 'The maximum number of live calls of one phone number, at all nodes together. Further callers with this number hear `say.busy` of the agent.',
  }),
  callerCallsPerMinute: define({
    kind: integer(1, 6000),
    fallback: 10,
    help: 'The maximum number of new calls of one phone number that each process accepts in a minute. Further callers with this number hear `say.busy` of the agent.',
  }),
  callerLimitsExempt: define<readonly string[]>({
    kind: list('phone numbers such as +254700000001, separated by commas', /^\+?\d{2,15}$/),
    fallback: [],
    help: 'Phone numbers to which CALLER_CALLS and CALLER_CALLS_PER_MINUTE do not apply, such as the exchange of an office from which many people call.',
  }),
  withheldCallsPercent: define({
    kind: integer(1, 100),
    fallback: 50,
    help: 'The maximum share of the call slots, in percent, for all callers with a withheld number together. Use 100 if the carrier never sends the number of a caller.',
  }),
  humanCallsPerMinute: define({
    kind: integer(1, 6000),
    fallback: 20,
    help: 'The maximum number of calls to one number of a human in a minute, by all processes of one machine together. Each machine of a fleet has its own limit. At the limit an escalation tries the next number, or offers a call back.',
  }),
  fallbackDialsPerMinute: define({
    kind: integer(0, 6000),
    fallback: 30,
    help: 'The maximum number of callers without an agent that all processes of one machine together send to a human in a minute. Each machine of a fleet has its own limit. Further callers hear `say.busy` of the agent. With 0 no caller is sent to a human.',
  }),
  outboundPrefixes: define<readonly string[]>({
    kind: list('prefixes of phone numbers such as +254, separated by commas', /^\+\d{1,14}$/),
    fallback: [],
    help: 'The prefixes of the phone numbers that the gateway may call. If the setting is unset, the gateway may call numbers in the country of the calling number. Other numbers than fixed lines and mobiles are called only if their range, such as +254900, or the whole number is listed (docs/CAMPAIGNS.md).',
  }),
  callBacksPerNumberDay: define({
    kind: integer(0, 100),
    fallback: 2,
    help: 'The maximum number of call backs to one number that all nodes together promise in 24 hours. With 0 no call back is promised.',
  }),
  callBacksPerNumberWeek: define({
    kind: integer(0, 100),
    fallback: 4,
    help: 'The maximum number of call backs to one number that all nodes together promise in seven days. With 0 no call back is promised.',
  }),
  callBacksPerCallerDay: define({
    kind: integer(0, 100),
    fallback: 3,
    help: 'The maximum number of call backs, to any numbers, that all nodes together promise to one caller in 24 hours. With 0 no call back is promised.',
  }),
  afterStream: define<'learn' | 'continues' | 'holds'>({
    env: 'SAUTIKIT_AFTER_STREAM',
    kind: oneOf('learn', 'continues', 'holds'),
    fallback: 'learn',
    help: 'After-stream behaviour of the carrier when the stream of a call closes. `continues`: the carrier continues the call. `holds`: the carrier holds the caller in silence. `learn`: the gateway learns the behaviour from its calls. The gateway itself closes a stream, as for an escalation, only if the carrier continues the call. If the carrier requests the next step of a call, the gateway always answers.',
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
    help: "The proxies whose X-Forwarded-For header gives a client's address. If unset, no proxy is trusted.",
  }),
  bareSignatures: define({
    env: 'SAUTIKIT_BARE_SIGNATURES',
    kind: yesNo,
    fallback: false,
    help: 'Also accepts signatures without a timestamp (bare hex). A webhook with such a signature can be replayed at any time.',
  }),
  tokenOnly: define<'learn' | 'refuse' | 'accept'>({
    env: 'SAUTIKIT_TOKEN_ONLY',
    kind: oneOf('learn', 'refuse', 'accept'),
    fallback: 'learn',
    help: 'Treatment of posts to /after-stream, /stream-status and /human that have a valid token in the URL but no valid signature, if SAUTIKIT_WEBHOOK_SECRETS is set. `accept`: they are accepted. `refuse`: they are refused. `learn`: a route accepts them until its first post with a valid signature. A post that reports the end of a call always needs a valid signature.',
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
    help: 'The secrets with which the APIs of waiting tools sign their posts to a continuation URL (docs/WAITING.md). If it is unset, the token in the URL is enough.',
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
    help: "The secret that protects the tokens in the gateway's URLs, the requests between nodes, and the states of live calls in Redis or on the disk. All nodes of a fleet must have the same secret. A gateway without other nodes needs a secret to continue its calls after it has died. To replace the secret, set two secrets, separated by a comma: the gateway signs with the first, and accepts both.",
  }),
  autoBackend: optional({
    kind: {
      ...oneOf(...BACKENDS),
      allowedInDocuments: 'a realtime service of docs/VENDORS.md, cascade or embedded',
    },
    help: 'The backend of agents with `backend: auto`. Default: the first configured realtime service that `auto` may select (docs/VENDORS.md), else embedded. If the backend fails, embedded takes over for agents with an `offline:` block.',
  }),
  ...VENDOR_SETTINGS,
  pricesFile: optional({
    kind: text('the path of a file'),
    help: "The file with your prices of models, the carrier's rates and exchange rates (docs/COST.md). Your prices take precedence over the vendors' public prices.",
  }),
  currency: define({
    kind: text('three letters, such as KES', /^[A-Z]{3}$/),
    fallback: 'USD',
    help: "The currency of a call's whole cost. Amounts in another currency are converted with the exchange rates of PRICES_FILE. If there is no rate for a currency, the amount is unknown (docs/COST.md).",
  }),
  backendMessageMs: optional({
    kind: integer(20, 100),
    help: "The length of the caller's audio, in ms, in one message to a realtime model. Default: 60; but 20 while a model that detects turns itself may be waiting for the end of speech.",
  }),
  backendStreamSilence: define({
    kind: yesNo,
    fallback: false,
    help: 'Also sends the silence between turns to a model that detects turns itself (docs/BACKENDS.md, "Silence between turns").',
  }),
  backendReconnectsPerSecond: define({
    kind: integer(1, 1000),
    fallback: 25,
    help: 'The maximum number of calls with a broken session that each process reconnects to one backend in a second. Further calls wait, for at most 10 s.',
  }),
  mediaWorkers: define({
    kind: integer(1, 64),
    fallback: defaultWorkers,
    defaultText: 'one less than the number of processors, from 1 to 8',
    help: 'The number of media worker threads, of all processes together.',
  }),
  workerMemoryMb: optional({
    kind: integer(64, 16_384),
    help: 'The maximum heap size of one media worker, in MB. Its buffers have the same limit, in addition. Default: 256, plus 1 for each call.',
  }),
  speechWorkers: optional({
    kind: integer(1, 4),
    help: 'The number of threads for the embedded recogniser in each process. The embedded voice has one more thread. Default: half the number of processors, divided by the number of processes, from 1 to 4.',
  }),
  speechDecoders: define({
    kind: integer(1, 16),
    fallback: 4,
    help: 'The maximum number of callers whose speech each thread of the embedded recogniser decodes at once. Each decoder needs 28 MB.',
  }),
  maxCalls: define({
    kind: integer(1, 20_000),
    fallback: 200,
    help: 'The maximum number of concurrent calls, of all processes together.',
  }),
  maxCallSeries: define({
    kind: integer(0, 20_000),
    fallback: 2000,
    help: 'The maximum number of live calls on the page /metrics/calls.',
  }),
  drainTimeoutMs: define({
    env: 'DRAIN_TIMEOUT',
    kind: duration(24 * 3_600_000),
    fallback: 900_000,
    defaultText: '15m',
    help: 'The maximum time for live calls to finish after SIGTERM. After this time another node or process continues the calls. If there is no other node or process, the callers hear a goodbye.',
  }),
  shopApiUrl: optional({
    kind: url('https:', 'http:'),
    help: 'The address of the API for orders and accounts that the shipped agents use.',
  }),
  otlpEndpoint: optional({
    env: 'OTEL_EXPORTER_OTLP_ENDPOINT',
    kind: url('https:', 'http:'),
    help: 'The URL of the OTLP/HTTP collector that receives the spans of each ended call.',
  }),
  logLevel: define<LogSettings>({
    kind: logLevels,
    fallback: { level: 'info', components: {} },
    defaultText: 'info',
    help: 'The lowest log level that is written, for all components. Single components can have another level, as in info,edge=debug.',
  }),
})

type Value<S> = S extends Setting<infer T> ? T : never

/** Values of all settings. */
export type Config = { readonly [K in keyof typeof SETTINGS]: Value<(typeof SETTINGS)[K]> }

import { availableParallelism, hostname } from 'node:os'
import { NODE_NAME, nodeNameOf } from '../fleet/node-name.js'
import { REDIS_URL_FORM, parseRedisUrl } from '../fleet/redis-url.js'
import { parseNetwork } from '../edge/client-address.js'
import { INTERNAL_PORT_DEFAULT, TOKEN_SECRETS_MAX, TRUSTED_PROXIES_MAX, WEBHOOK_SECRETS_MAX } from '../core/limits.js'
import { API_PATHS, isApiPath } from '../sautikit-api/api-paths.js'
import { LOG_LEVELS, parseLogSettings } from '../telemetry/log.js'
import type { FsyncPolicy } from '../telemetry/archive/archive-messages.js'
import type { TranscriptPolicy } from '../telemetry/archive/redaction.js'
import type { LogSettings } from '../telemetry/log.js'

/** Converts a setting's text to its value. Never throws: undefined means "not allowed". */
interface Kind<T> {
  readonly allowed: string
  readonly parse: (text: string) => T | undefined
}

/** One setting: its environment variable, its key in mkondo.yaml, its allowed values and its default. */
export interface Setting<T> {
  readonly env: string
  readonly key: string
  readonly kind: Kind<T>
  readonly fallback: T
  /** Its value is never shown, even when it is invalid. */
  readonly secret?: boolean
  readonly help: string
}

const text = (allowed = 'any text', pattern = /./su): Kind<string> => ({
  allowed,
  parse: (value) => (pattern.test(value) ? value : undefined),
})

const integer = (min: number, max: number): Kind<number> => ({
  allowed: `a whole number from ${min} to ${max}`,
  parse: (value) => {
    if (!/^\d{1,9}$/.test(value)) return undefined
    const number = Number(value)
    return number >= min && number <= max ? number : undefined
  },
})

const oneOf = <T extends string>(...names: readonly T[]): Kind<T> => ({
  allowed: `one of ${names.join(', ')}`,
  parse: (value) => names.find((name) => name === value),
})

const logLevels: Kind<LogSettings> = {
  allowed: `one of ${LOG_LEVELS.join(', ')}, and component=level for single components, by commas`,
  parse: (value) => {
    try {
      return parseLogSettings(value)
    } catch {
      return undefined // the caller reports it with the setting's name
    }
  },
}

const url = (...protocols: readonly string[]): Kind<string> => ({
  allowed: `a URL that begins with ${protocols.map((protocol) => `${protocol}//`).join(' or ')}`,
  parse: (value) => {
    if (!URL.canParse(value)) return undefined
    const parsed = new URL(value)
    return protocols.includes(parsed.protocol) && parsed.hostname !== '' ? value.replace(/\/+$/, '') : undefined
  },
})

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

const networks: Kind<readonly string[]> = {
  allowed:
    'a comma list of addresses and networks such as 10.0.0.0/8, 192.0.2.7, 2001:db8::/32, and none that holds every address (/0)',
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

/** What is kept of each call for `mkondo replay`. */
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

const apiKey = text('a key without spaces', /^\S{8,4096}$/)
const modelName = text('the name of a model without spaces', /^\S{1,200}$/)

const define = <T>(setting: Setting<T>): Setting<T> => setting
type AutoBackend = 'openai' | 'openai-live' | 'gemini' | 'self-hosted' | 'cascade' | 'embedded'

const optional = <T>(kind: Kind<T>): Kind<T | null> => kind

/** All settings, in the order in which `mkondo help settings` prints them. Names are the contract's. */
export const SETTINGS = {
  port: define({
    env: 'PORT',
    key: 'port',
    kind: integer(0, 65535),
    fallback: 8080,
    help: "public port: the carrier's traffic only",
  }),
  host: define({
    env: 'HOST',
    key: 'host',
    kind: text('a host name or address', /^[\w.:-]{1,255}$/),
    fallback: '127.0.0.1',
    help: 'address of the public port; where the carrier or a balancer comes from another machine: 0.0.0.0',
  }),
  opsPort: define({
    env: 'OPS_PORT',
    key: 'opsPort',
    kind: integer(0, 65535),
    fallback: 9464,
    help: 'ops port: health, metrics, API; of process i it is this + i',
  }),
  opsHost: define({
    env: 'OPS_HOST',
    key: 'opsHost',
    kind: text('a host name or address', /^[\w.:-]{1,255}$/),
    fallback: '127.0.0.1',
    help: 'address of the ops port',
  }),
  opsToken: define<string | null>({
    env: 'OPS_TOKEN',
    key: 'opsToken',
    kind: optional(text('at least 16 characters without spaces', /^\S{16,512}$/)),
    fallback: null,
    secret: true,
    help: 'bearer token of the ops port: reads everything, and acts',
  }),
  opsReadToken: define<string | null>({
    env: 'OPS_READ_TOKEN',
    key: 'opsReadToken',
    kind: optional(text('at least 16 characters without spaces', /^\S{16,512}$/)),
    fallback: null,
    secret: true,
    help: 'bearer token that reads metrics and nothing else, beside OPS_TOKEN',
  }),
  insecure: define({
    env: 'INSECURE',
    key: 'insecure',
    kind: yesNo,
    fallback: false,
    help: 'start even if strangers could place calls or use the ops port',
  }),
  publicUrl: define<string | null>({
    env: 'PUBLIC_URL',
    key: 'publicUrl',
    kind: optional(origin('https:', 'http:')),
    fallback: null,
    help: 'origin at which the carrier reaches the public port',
  }),
  nodeUrl: define<string | null>({
    env: 'NODE_URL',
    key: 'nodeUrl',
    fallback: null,
    help: 'with REDIS_URL or --processes: where the carrier reaches each node alone, for audio; with --processes alone PORT + 1 + its number when unset',
    kind: optional(
      nodeOrigin(
        'an http:// or https:// URL, with {node} where the name of the node goes or {process} where the number of the process does, such as https://voice.example.com/n/{node}',
        new RegExp(`^${HOST_AND_PORT}(?:/[\\w./-]*)?$`),
      ),
    ),
  }),
  redisUrl: define<string | null>({
    env: 'REDIS_URL',
    key: 'redisUrl',
    kind: optional({
      allowed: REDIS_URL_FORM,
      parse: (value) => (parseRedisUrl(value) === undefined ? undefined : value),
    }),
    fallback: null,
    secret: true,
    help: 'Redis 6.2 or later that the nodes of a fleet share; one node alone, or the processes of --processes, need none',
  }),
  redisPrefix: define({
    env: 'REDIS_PREFIX',
    key: 'redisPrefix',
    kind: text('1 to 64 of A-Z a-z 0-9 . _ : -', /^[\w.:-]{1,64}$/),
    fallback: 'mkondo:',
    help: 'beginning of all keys there; the same on all nodes, and another one for each fleet on one Redis',
  }),
  nodeName: define({
    env: 'NODE_NAME',
    key: 'nodeName',
    kind: text('1 to 63 of A-Z a-z 0-9 . _ -', NODE_NAME),
    fallback: nodeNameOf(hostname()),
    help: 'name of this node, another one for each node of a fleet and the same after a restart; with --processes, -0, -1, … follow',
  }),
  internalHost: define({
    env: 'INTERNAL_HOST',
    key: 'internalHost',
    kind: text('a host name or address', /^[\w.:-]{1,255}$/),
    fallback: '127.0.0.1',
    help: 'address of the internal port, at which the nodes of a fleet and the processes of --processes ask each other',
  }),
  internalPort: define<number | null>({
    env: 'INTERNAL_PORT',
    key: 'internalPort',
    kind: optional(integer(0, 65535)),
    fallback: null,
    help: `internal port; of process i it is this + i; 0 for any free one; when unset ${INTERNAL_PORT_DEFAULT}, with --processes any free one`,
  }),
  internalUrl: define<string | null>({
    env: 'INTERNAL_URL',
    key: 'internalUrl',
    kind: optional(
      nodeOrigin(
        'an http:// or https:// URL without a path, with {node} or {process} as in NODE_URL; without a port it gets that of the internal port',
        new RegExp(`^${HOST_AND_PORT}$`),
      ),
    ),
    fallback: null,
    help: 'origin at which other nodes reach the internal port; INTERNAL_HOST and its port when unset',
  }),
  internalTlsCert: define<string | null>({
    env: 'INTERNAL_TLS_CERT',
    key: 'internalTlsCert',
    kind: optional(text('a file')),
    fallback: null,
    help: 'TLS on the internal port: file with the certificate of this node, for its listener and for its requests to others',
  }),
  internalTlsKey: define<string | null>({
    env: 'INTERNAL_TLS_KEY',
    key: 'internalTlsKey',
    kind: optional(text('a file')),
    fallback: null,
    help: 'file with its key',
  }),
  internalTlsCa: define<string | null>({
    env: 'INTERNAL_TLS_CA',
    key: 'internalTlsCa',
    kind: optional(text('a file')),
    fallback: null,
    help: 'file with the authorities that sign the certificates of the nodes, on both sides',
  }),
  agentsDir: define<string | null>({
    env: 'AGENTS_DIR',
    key: 'agentsDir',
    kind: optional(text('a folder')),
    fallback: null,
    help: 'folder of agent definitions; the shipped ones when unset',
  }),
  agentsWatch: define({
    env: 'AGENTS_WATCH',
    key: 'agentsWatch',
    kind: yesNo,
    fallback: true,
    help: 'apply edits of the agents folder to new calls',
  }),
  defaultAgent: define<string | null>({
    env: 'DEFAULT_AGENT',
    key: 'defaultAgent',
    kind: optional(text('the name of an agent', /^[a-z][a-z0-9-]{0,39}$/)),
    fallback: null,
    help: 'agent of POST /voice without a name',
  }),
  dataDir: define({
    env: 'DATA_DIR',
    key: 'dataDir',
    kind: text('a folder'),
    fallback: '.data',
    help: 'folder of records, recordings and journals of calls; one gateway at a time',
  }),
  keepCalls: define({
    env: 'KEEP_CALLS',
    key: 'keepCalls',
    kind: yesNo,
    fallback: true,
    help: 'keep records, handoffs and recordings of calls under DATA_DIR',
  }),
  recordsFsync: define<FsyncPolicy>({
    env: 'RECORDS_FSYNC',
    key: 'recordsFsync',
    kind: oneOf('each', 'second', 'never'),
    fallback: 'second',
    help: 'when records are synced to disk: after each, once a second, or never',
  }),
  recordsTranscript: define<TranscriptPolicy>({
    env: 'RECORDS_TRANSCRIPT',
    key: 'recordsTranscript',
    kind: oneOf('full', 'masked', 'none'),
    fallback: 'full',
    help: 'words in records: all, with numbers masked, or none',
  }),
  recordsNumbers: define<'masked' | 'full'>({
    env: 'RECORDS_NUMBERS',
    key: 'recordsNumbers',
    kind: oneOf('masked', 'full'),
    fallback: 'masked',
    help: 'phone numbers in records',
  }),
  recordsFileMb: define({
    env: 'RECORDS_FILE_MB',
    key: 'recordsFileMb',
    kind: integer(1, 4096),
    fallback: 64,
    help: 'size at which a new file of records begins; each day begins one too',
  }),
  recordsKeepDays: define({
    env: 'RECORDS_KEEP_DAYS',
    key: 'recordsKeepDays',
    kind: integer(1, 36_500),
    fallback: 90,
    help: 'days that records are kept',
  }),
  recordsKeepMb: define({
    env: 'RECORDS_KEEP_MB',
    key: 'recordsKeepMb',
    kind: integer(1, 100_000_000),
    fallback: 4096,
    help: 'size of all records; the oldest go first',
  }),
  recordingsKeepDays: define({
    env: 'RECORDINGS_KEEP_DAYS',
    key: 'recordingsKeepDays',
    kind: integer(1, 36_500),
    fallback: 30,
    help: 'days that recordings are kept',
  }),
  recordingsKeepMb: define({
    env: 'RECORDINGS_KEEP_MB',
    key: 'recordingsKeepMb',
    kind: integer(1, 100_000_000),
    fallback: 20_480,
    help: 'size of all recordings; the oldest go first',
  }),
  handoffUrl: define<string | null>({
    env: 'HANDOFF_URL',
    key: 'handoffUrl',
    kind: optional(url('https:', 'http:')),
    fallback: null,
    help: 'webhook that gets the handoff packet of each escalation and callback request',
  }),
  handoffSecret: define<string | null>({
    env: 'HANDOFF_SECRET',
    key: 'handoffSecret',
    kind: optional(text('at least 16 characters without spaces', /^\S{16,512}$/)),
    fallback: null,
    secret: true,
    help: 'signs those POSTs',
  }),
  journalCalls: define({
    env: 'JOURNAL_CALLS',
    key: 'journalCalls',
    kind: journalKind,
    fallback: 'off',
    help: "keep a journal of each call under DATA_DIR, which `mkondo replay` runs again; audio: with the caller's audio",
  }),
  apiKey: define<string | null>({
    env: 'SAUTIKIT_API_KEY',
    key: 'sautikitApiKey',
    kind: optional(text('an API key without spaces', /^\S{8,4096}$/)),
    fallback: null,
    secret: true,
    help: "key of the carrier's REST API",
  }),
  apiUrl: define({
    env: 'SAUTIKIT_API_URL',
    key: 'sautikitApiUrl',
    kind: url('https:', 'http:'),
    fallback: 'https://api.sautikit.com',
    help: "origin of the carrier's REST API",
  }),
  apiPaths: define<readonly string[]>({
    env: 'SAUTIKIT_API_PATHS',
    key: 'sautikitApiPaths',
    fallback: [],
    kind: {
      allowed: `a comma list of ${API_PATHS.join(', ')}`,
      parse: (value) => {
        const names = value
          .split(',')
          .map((name) => name.trim())
          .filter((name) => name !== '')
        return names.every(isApiPath) ? names : undefined
      },
    },
    help: "which spelling of a request to the carrier's API is tried first; the others follow",
  }),
  carrierRecordings: define({
    env: 'CARRIER_RECORDINGS',
    key: 'carrierRecordings',
    kind: yesNo,
    fallback: true,
    help: "keep the carrier's recording of a call, where it made one, under DATA_DIR",
  }),
  outboundPerMinute: define({
    env: 'OUTBOUND_PER_MINUTE',
    key: 'outboundPerMinute',
    kind: integer(1, 6000),
    fallback: 30,
    help: 'calls placed in a minute, by all processes together',
  }),
  recoveryPerMinute: define({
    env: 'RECOVERY_PER_MINUTE',
    key: 'recoveryPerMinute',
    kind: integer(0, 600),
    fallback: 30,
    help: 'callers of lost calls that are rung back in a minute, by all processes together; 0 for none',
  }),
  outboundPrefixes: define<readonly string[]>({
    env: 'OUTBOUND_PREFIXES',
    key: 'outboundPrefixes',
    kind: list('a comma list of beginnings of numbers, such as +254', /^\+\d{1,14}$/),
    fallback: [],
    help: 'prefixes of numbers that may be called; all when unset',
  }),
  afterStream: define<'learn' | 'continues' | 'holds'>({
    env: 'SAUTIKIT_AFTER_STREAM',
    key: 'sautikitAfterStream',
    kind: oneOf('learn', 'continues', 'holds'),
    fallback: 'learn',
    help: 'after-stream behaviour: whether the carrier continues a call when its stream closes, or holds it in silence',
  }),
  webhookSecrets: define<readonly string[]>({
    env: 'SAUTIKIT_WEBHOOK_SECRETS',
    key: 'sautikitWebhookSecrets',
    kind: atMost(WEBHOOK_SECRETS_MAX, list('a comma list of secrets of 8 or more characters', /^\S{8,512}$/)),
    fallback: [],
    secret: true,
    help: 'secrets that may have signed a webhook',
  }),
  trustedProxies: define<readonly string[]>({
    env: 'TRUSTED_PROXIES',
    key: 'trustedProxies',
    kind: atMost(TRUSTED_PROXIES_MAX, networks),
    fallback: [],
    help: "proxies whose X-Forwarded-For tells a client's address, by address or network; none when unset",
  }),
  bareSignatures: define({
    env: 'SAUTIKIT_BARE_SIGNATURES',
    key: 'sautikitBareSignatures',
    kind: yesNo,
    fallback: false,
    help: 'take signatures without a time (bare hex) too; such a webhook can be replayed at any time',
  }),
  tokenSecrets: define<readonly string[]>({
    env: 'TOKEN_SECRET',
    key: 'tokenSecret',
    kind: atMost(TOKEN_SECRETS_MAX, list('a secret of at least 16 characters, or two by a comma', /^.{16,512}$/s)),
    fallback: [],
    secret: true,
    help: 'secret of the tokens in our URLs, of requests between nodes and of what the store keeps; two, by a comma, while it is replaced: the first one signs, both are accepted; the same on all nodes; random at start when unset, which a fleet does not allow',
  }),
  autoBackend: define<AutoBackend | null>({
    env: 'AUTO_BACKEND',
    key: 'autoBackend',
    kind: optional(oneOf('openai', 'openai-live', 'gemini', 'self-hosted', 'cascade', 'embedded')),
    fallback: null,
    help: 'what `backend: auto` of an agent stands for; when unset the first of openai, gemini and embedded that is set up',
  }),
  openaiApiKey: define<string | null>({
    env: 'OPENAI_API_KEY',
    key: 'openaiApiKey',
    kind: optional(apiKey),
    fallback: null,
    secret: true,
    help: 'key of OpenAI',
  }),
  geminiApiKey: define<string | null>({
    env: 'GEMINI_API_KEY',
    key: 'geminiApiKey',
    kind: optional(apiKey),
    fallback: null,
    secret: true,
    help: 'key of Gemini',
  }),
  openaiBaseUrl: define<string | null>({
    env: 'OPENAI_BASE_URL',
    key: 'openaiBaseUrl',
    kind: optional(url('https:', 'http:', 'wss:', 'ws:')),
    fallback: null,
    help: "address of OpenAI's API, when it is not the public one",
  }),
  openaiModel: define({
    env: 'OPENAI_MODEL',
    key: 'openaiModel',
    kind: modelName,
    fallback: 'gpt-realtime-2.1',
    help: 'realtime model of OpenAI',
  }),
  openaiTurns: define<'server_vad' | 'semantic_vad' | 'gateway'>({
    env: 'OPENAI_TURNS',
    key: 'openaiTurns',
    kind: oneOf('server_vad', 'semantic_vad', 'gateway'),
    fallback: 'server_vad',
    help: 'who detects the end of turn, unless the agent says so',
  }),
  openaiLiveUrl: define<string | null>({
    env: 'OPENAI_LIVE_URL',
    key: 'openaiLiveUrl',
    kind: optional(url('https:', 'http:', 'wss:', 'ws:')),
    fallback: null,
    help: "address of the live API, when it is not that of OPENAI_BASE_URL or OpenAI's public one",
  }),
  openaiLiveModel: define({
    env: 'OPENAI_LIVE_MODEL',
    key: 'openaiLiveModel',
    kind: modelName,
    fallback: 'gpt-live-1',
    help: 'live model of OpenAI, for the backend openai-live',
  }),
  openaiLiveDelegate: define<'responses' | 'client'>({
    env: 'OPENAI_LIVE_DELEGATE',
    key: 'openaiLiveDelegate',
    kind: oneOf('responses', 'client'),
    fallback: 'responses',
    help: 'who uses the tools for it, unless the agent says so: a model that OpenAI runs beside it, or that of LLM_URL',
  }),
  openaiLiveDelegateModel: define({
    env: 'OPENAI_LIVE_DELEGATE_MODEL',
    key: 'openaiLiveDelegateModel',
    kind: modelName,
    fallback: 'gpt-5.4-mini',
    help: 'model that OpenAI runs beside it',
  }),
  geminiBaseUrl: define<string | null>({
    env: 'GEMINI_BASE_URL',
    key: 'geminiBaseUrl',
    kind: optional(url('https:', 'http:', 'wss:', 'ws:')),
    fallback: null,
    help: "address of Gemini's API, when it is not the public one",
  }),
  geminiModel: define({
    env: 'GEMINI_MODEL',
    key: 'geminiModel',
    kind: modelName,
    fallback: 'gemini-3.8-live',
    help: 'live model of Gemini',
  }),
  geminiTurns: define<'gateway' | 'server'>({
    env: 'GEMINI_TURNS',
    key: 'geminiTurns',
    kind: oneOf('gateway', 'server'),
    fallback: 'gateway',
    help: 'the same',
  }),
  realtimeUrl: define<string | null>({
    env: 'REALTIME_URL',
    key: 'realtimeUrl',
    kind: optional(url('https:', 'http:', 'wss:', 'ws:')),
    fallback: null,
    help: "backend self-hosted: a realtime server in OpenAI's shape",
  }),
  realtimeApiKey: define<string | null>({
    env: 'REALTIME_API_KEY',
    key: 'realtimeApiKey',
    kind: optional(apiKey),
    fallback: null,
    secret: true,
    help: 'its key, where it wants one',
  }),
  realtimeModel: define({
    env: 'REALTIME_MODEL',
    key: 'realtimeModel',
    kind: modelName,
    fallback: 'default',
    help: 'its model or pipeline',
  }),
  realtimeDialect: define<'ga' | 'beta'>({
    env: 'REALTIME_DIALECT',
    key: 'realtimeDialect',
    kind: oneOf('ga', 'beta'),
    fallback: 'ga',
    help: "its dialect: OpenAI's of today, or the beta's flat session",
  }),
  realtimeTurns: define<'server_vad' | 'semantic_vad' | 'gateway'>({
    env: 'REALTIME_TURNS',
    key: 'realtimeTurns',
    kind: oneOf('server_vad', 'semantic_vad', 'gateway'),
    fallback: 'server_vad',
    help: 'the same',
  }),
  realtimeRateHz: define<'16000' | '24000'>({
    env: 'REALTIME_RATE_HZ',
    key: 'realtimeRateHz',
    kind: oneOf('16000', '24000'),
    fallback: '24000',
    help: 'sample rate of its audio, both ways',
  }),
  sttUrl: define<string | null>({
    env: 'STT_URL',
    key: 'sttUrl',
    kind: optional(url('https:', 'http:')),
    fallback: null,
    help: 'backend cascade: recogniser, address up to /v1',
  }),
  sttApiKey: define<string | null>({
    env: 'STT_API_KEY',
    key: 'sttApiKey',
    kind: optional(apiKey),
    fallback: null,
    secret: true,
    help: 'its key',
  }),
  sttModel: define({ env: 'STT_MODEL', key: 'sttModel', kind: modelName, fallback: 'whisper-1', help: 'its model' }),
  llmUrl: define<string | null>({
    env: 'LLM_URL',
    key: 'llmUrl',
    kind: optional(url('https:', 'http:')),
    fallback: null,
    help: 'backend cascade: language model, address up to /v1',
  }),
  llmApiKey: define<string | null>({
    env: 'LLM_API_KEY',
    key: 'llmApiKey',
    kind: optional(apiKey),
    fallback: null,
    secret: true,
    help: 'its key',
  }),
  llmModel: define({ env: 'LLM_MODEL', key: 'llmModel', kind: modelName, fallback: 'default', help: 'its model' }),
  ttsUrl: define<string | null>({
    env: 'TTS_URL',
    key: 'ttsUrl',
    kind: optional(url('https:', 'http:')),
    fallback: null,
    help: 'backend cascade: voice, address up to /v1',
  }),
  ttsApiKey: define<string | null>({
    env: 'TTS_API_KEY',
    key: 'ttsApiKey',
    kind: optional(apiKey),
    fallback: null,
    secret: true,
    help: 'its key',
  }),
  ttsModel: define({ env: 'TTS_MODEL', key: 'ttsModel', kind: modelName, fallback: 'tts-1', help: 'its model' }),
  pricesFile: define<string | null>({
    env: 'PRICES_FILE',
    key: 'pricesFile',
    kind: optional(text('the path of a file')),
    fallback: null,
    help: "your prices of models, before the vendors' public ones (docs/BACKENDS.md)",
  }),
  backendMessageMs: define<number | null>({
    env: 'BACKEND_MESSAGE_MS',
    key: 'backendMessageMs',
    kind: optional(integer(20, 100)),
    fallback: null,
    help: 'caller audio in one message to a realtime model, in ms; unset: 60, and 20 while a model that hears the end of speech itself may wait for it',
  }),
  mediaWorkers: define({
    env: 'MEDIA_WORKERS',
    key: 'mediaWorkers',
    kind: integer(1, 64),
    fallback: defaultWorkers,
    help: 'media worker threads, of all processes together',
  }),
  workerMemoryMb: define<number | null>({
    env: 'WORKER_MEMORY_MB',
    key: 'workerMemoryMb',
    kind: optional(integer(64, 16_384)),
    fallback: null,
    help: 'memory of one media worker, in MB: its heap, and its buffers as much again; 256 and 1 a call when unset',
  }),
  speechWorkers: define({
    env: 'SPEECH_WORKERS',
    key: 'speechWorkers',
    kind: integer(1, 4),
    fallback: 1,
    help: 'threads of the embedded recogniser and voice',
  }),
  speechDecoders: define({
    env: 'SPEECH_DECODERS',
    key: 'speechDecoders',
    kind: integer(1, 16),
    fallback: 4,
    help: 'callers that the embedded recogniser hears at once, for each speech worker (28 MB each)',
  }),
  maxCalls: define({
    env: 'MAX_CALLS',
    key: 'maxCalls',
    kind: integer(1, 20_000),
    fallback: 200,
    help: 'calls taken at once, by all processes together',
  }),
  maxCallSeries: define({
    env: 'MAX_CALL_SERIES',
    key: 'maxCallSeries',
    kind: integer(0, 20_000),
    fallback: 2000,
    help: 'live calls shown on /metrics/calls',
  }),
  drainTimeoutMs: define({
    env: 'DRAIN_TIMEOUT',
    key: 'drainTimeout',
    kind: duration(24 * 3_600_000),
    fallback: 900_000,
    help: 'how long SIGTERM lets calls finish',
  }),
  shopApiUrl: define<string | null>({
    env: 'SHOP_API_URL',
    key: 'shopApiUrl',
    kind: optional(url('https:', 'http:')),
    fallback: null,
    help: 'orders and accounts API of the shipped agents',
  }),
  otlpEndpoint: define<string | null>({
    env: 'OTEL_EXPORTER_OTLP_ENDPOINT',
    key: 'otelExporterOtlpEndpoint',
    kind: optional(url('https:', 'http:')),
    fallback: null,
    help: 'OTLP/HTTP collector that gets each ended call as spans',
  }),
  logLevel: define<LogSettings>({
    env: 'LOG_LEVEL',
    key: 'logLevel',
    kind: logLevels,
    fallback: { level: 'info', components: {} },
    help: 'least level that is logged, for all components and for single ones, as info,edge=debug (default info)',
  }),
} as const

type Value<S> = S extends Setting<infer T> ? T : never

/** Every setting's value. */
export type Config = { readonly [K in keyof typeof SETTINGS]: Value<(typeof SETTINGS)[K]> }

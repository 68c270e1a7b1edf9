import type { CarrierState } from '../../sautikit/carrier-state.js'
import { isJsonObject, parseJsonObject } from '../../sautikit/call-fields.js'
import type { JsonObject } from '../../sautikit/call-fields.js'
import { JSON_DEPTH_MAX } from '../../core/limits.js'

/**
 * Facts of the carrier's protocol from one call. They contain names and forms of fields, but no data of the caller. All
 * times are in ms since the call's first POST.
 */
export interface CallFacts {
  readonly track: 'inbound_track' | 'both_tracks'
  /** First FACTS_POSTS_MAX POSTs of the call, in order. */
  readonly posts: readonly PostFacts[]
  /** Facts of the stream; null if the carrier opened no audio socket. */
  readonly stream: StreamFacts | null
  readonly afterStream: AfterStreamFacts
}

/** Limits of the facts of one call. */
export const FACTS_POSTS_MAX = 50
const FIELDS_MAX = 64
const NAME_CHARS_MAX = 64

export type PostUrl = 'voice' | 'events' | 'stream-status' | 'after-stream'

export interface PostFacts {
  readonly atMs: number
  readonly url: PostUrl
  /** Media type without parameters; null if absent. */
  readonly contentType: string | null
  readonly state: CarrierState
  readonly signature: SignatureFacts
  /** Names of fields in the carrier's spelling, each with the form of its value. */
  readonly fields: Readonly<Record<string, string>>
}

export interface SignatureFacts {
  /** Form of the signature's header. `dated`: `t=…,v1=…`. `bare`: only hex digits. `other`: any other form. */
  readonly form: 'dated' | 'bare' | 'other' | 'none'
  /** Position, from 1, of the secret in SAUTIKIT_WEBHOOK_SECRETS that made the signature; null if no secret matches. */
  readonly secret: number | null
}

export interface StreamFacts {
  readonly openedAtMs: number
  /** Names of the handshake's headers, in order. */
  readonly headers: readonly string[]
  readonly subprotocols: readonly string[]
  /** First text frame of the stream; null if no text frame came. */
  readonly firstText: { readonly beforeAudio: boolean; readonly fields: Readonly<Record<string, string>> } | null
  /** Number of text frames after the first, by their type. */
  readonly texts: Readonly<Record<string, number>>
  readonly audio: AudioFacts
  readonly killAudio: KillFacts
  /** DTMF digits that the caller pressed, by channel. */
  readonly keys: {
    readonly asTones: number
    readonly asTexts: number
    readonly asPosts: number
    readonly asked: boolean
  }
  readonly endedBy: 'us' | 'carrier'
}

export interface AudioFacts {
  readonly messages: number
  /** The most frequent message sizes in bytes, and the number of messages of each size. */
  readonly sizes: readonly { readonly bytes: number; readonly messages: number }[]
  readonly largestBytes: number
  readonly emptyMessages: number
  readonly oddMessages: number
  /** Time in ms from the socket's opening to the first audio; null if no audio came. */
  readonly firstAfterMs: number | null
  readonly channels: 1 | 2
  readonly longestGapMs: number
}

export interface KillFacts {
  readonly seen: 'obeyed' | 'ignored' | 'unknown'
  /** Evidence for `seen`: answers to a mark, our own tone in the returned audio, or a DTMF digit from the caller. */
  readonly by: 'marks' | 'echo' | 'caller' | null
  readonly marks: 'answered' | 'unanswered'
}

export interface AfterStreamFacts {
  readonly seen: 'continues' | 'holds' | 'unknown'
  /**
   * `askedBy`: URL at which the carrier asked for the next document. `askedAfterMs`: time in ms from our close to this
   * request.
   */
  readonly askedBy: PostUrl | null
  readonly askedAfterMs: number | null
  /** Outcome of our REST request to end the call; null without a request. */
  readonly hangUp: 'ended' | 'not-ended' | 'refused' | null
}

// --- forms of values ----------------------------------------------------------------------------------------

/** Fields whose values are words of the protocol. All other values are personal data, or may identify a person. */
const WORDS =
  /^(?:call_?(?:session_?)?(?:state|status)|status|stream_?(?:event|status)|event(?:_?kind)?|kind|type|is_?active|(?:call_?)?direction|track)$/i

/** The form of a value: `+<12 digits>`, `HD_<12 hex>`, `<17 characters>`. */
export function formOf(name: string, value: unknown): string {
  if (typeof value === 'number' || typeof value === 'boolean')
    return typeof value === 'boolean' || WORDS.test(name) ? String(value) : '<number>'
  if (typeof value !== 'string') return value === null ? 'null' : Array.isArray(value) ? '<list>' : '<object>'
  if (value === '') return '<empty>'
  if (WORDS.test(name) && /^[A-Za-z0-9 ._-]{1,40}$/.test(value) && !/\d{4}/.test(value)) return value
  const digits = /^(\+?)(\d+)$/.exec(value)
  if (digits !== null) return `${digits[1] ?? ''}<${digits[2]?.length ?? 0} digits>`
  const id = /^([A-Z]{2,8}_)([0-9a-f]+)$/i.exec(value)
  if (id !== null) return `${id[1] ?? ''}<${id[2]?.length ?? 0} hex>`
  if (/^\d{4}-\d\d-\d\dT/.test(value)) return '<time>'
  if (/^(?:https?|wss?):/.test(value)) return '<url>'
  return `<${value.length} characters>`
}

/** Form of each field's value in an object; nested fields are named like `data.call_id`. */
export function formsOf(object: JsonObject): Record<string, string> {
  const forms: Record<string, string> = {}
  const add = (inner: JsonObject, path: string, depth: number): void => {
    for (const [name, value] of Object.entries(inner)) {
      if (Object.keys(forms).length >= FIELDS_MAX) return
      const full = `${path}${name.replace(/[^\w.-]/g, '?').slice(0, NAME_CHARS_MAX)}`
      const nested = typeof value === 'string' ? parseJsonObject(value, JSON_DEPTH_MAX) : value
      if (isJsonObject(nested) && depth < JSON_DEPTH_MAX) add(nested, `${full}.`, depth + 1)
      else forms[full] = formOf(name, value)
    }
  }
  add(object, '', 1)
  return forms
}

/** The forms of a text frame's fields. If the frame is not a JSON object, the frame's length. */
export function formsOfText(text: string): Record<string, string> {
  const object = parseJsonObject(text, JSON_DEPTH_MAX)
  return object === undefined ? { '(no JSON)': `<${text.length} characters>` } : formsOf(object)
}

// --- answers from the facts ---------------------------------------------------------------------------------

/** Question in the words of docs/PROTOCOL.md 8, and the answer from these calls; null if the question is still open. */
export interface Question {
  readonly question: string
  readonly answer: string | null
}

/** Open questions of docs/PROTOCOL.md 8, with the answers that these calls give. */
export function questionsOf(calls: readonly CallFacts[]): readonly Question[] {
  const { after, kill, signature, bothTracks, keys, firstText } = seenIn(calls)
  return [
    { question: 'Which request asks for the Dial after our close?', answer: after === null ? null : afterText(after) },
    {
      question: 'Does the carrier obey `killAudio`?',
      answer: kill === null ? null : `${kill.seen === 'obeyed' ? 'yes' : 'no'} (${KILL_BY[kill.by ?? 'marks']})`,
    },
    {
      question: 'Are voice POSTs signed, with which secret?',
      answer: signature === null ? null : signatureText(signature),
    },
    {
      question: 'What does `both_tracks` look like?',
      answer:
        bothTracks === null
          ? null
          : bothTracks.channels === 2
            ? 'two channels, interleaved'
            : 'one channel with both voices mixed, or with one of them',
    },
    { question: 'Are DTMF digits sent during a stream?', answer: keys },
    { question: 'What is in the first frame?', answer: firstText },
    { question: 'How long may a call or an idle stream last?', answer: null },
  ]
}

const KILL_BY = {
  marks: 'the carrier answered a mark',
  echo: 'heard in the audio that came back',
  caller: 'the caller pressed a key',
} as const

interface Seen {
  readonly after: AfterStreamFacts | null
  readonly kill: KillFacts | null
  /** Signature of the voice POSTs. If their signatures differ, it is the weakest of them. */
  readonly signature: SignatureFacts | null
  readonly bothTracks: AudioFacts | null
  readonly keys: string | null
  readonly firstText: string | null
}

/** Facts of several calls together. Each fact comes from the newest call that shows it. */
function seenIn(calls: readonly CallFacts[]): Seen {
  const newest = <T>(read: (call: CallFacts) => T | null): T | null => {
    for (const call of [...calls].reverse()) {
      const seen = read(call)
      if (seen !== null) return seen
    }
    return null
  }
  return {
    after: newest(({ afterStream }) => (afterStream.seen === 'unknown' ? null : afterStream)),
    kill: newest(({ stream }) => (stream === null || stream.killAudio.seen === 'unknown' ? null : stream.killAudio)),
    signature: newest(({ posts }) => weakest(posts.filter(({ url }) => url === 'voice'))),
    bothTracks: newest(({ track, stream }) =>
      track !== 'both_tracks' || stream === null || stream.audio.messages === 0 ? null : stream.audio,
    ),
    keys: newest(({ stream }) => (stream === null ? null : keysText(stream.keys))),
    firstText: newest(({ stream }) =>
      stream === null
        ? null
        : stream.firstText === null
          ? 'no text frame comes'
          : `${Object.keys(stream.firstText.fields).join(', ')}; ${stream.firstText.beforeAudio ? 'before' : 'after'} the first audio`,
    ),
  }
}

/**
 * Signature that the gateway trusts least. The weakest one decides, because the gateway would refuse a single unsigned
 * POST.
 */
function weakest(posts: readonly PostFacts[]): SignatureFacts | null {
  const trust = ({ form, secret }: SignatureFacts): number =>
    ['none', 'other', 'bare', 'dated'].indexOf(form) + (secret === null ? 0 : 10)
  const [first] = posts.map(({ signature }) => signature).sort((a, b) => trust(a) - trust(b))
  return first ?? null
}

/** Name of a signature's form, with its meaning for the gateway. */
export function signatureText({ form, secret }: SignatureFacts): string {
  if (form === 'none') return 'no: the gateway refuses them'
  if (form === 'other') return 'yes, in a form that the gateway does not know'
  const how = form === 'dated' ? 't=…,v1=…' : 'hex without a time'
  return secret === null
    ? `yes (${how}), but none of SAUTIKIT_WEBHOOK_SECRETS made the signature`
    : `yes (${how}), with secret ${secret} of SAUTIKIT_WEBHOOK_SECRETS`
}

function afterText({ seen, askedBy, askedAfterMs }: AfterStreamFacts): string {
  const asked =
    askedBy === null
      ? ''
      : `${askedBy === 'voice' ? 'the voice URL' : `/${askedBy}`} is asked after ${askedAfterMs ?? 0} ms`
  if (seen === 'continues') return asked
  return asked === '' ? 'nobody: the carrier holds the call in silence' : `nobody in time: ${asked}`
}

function keysText({ asTones, asTexts, asPosts, asked }: StreamFacts['keys']): string | null {
  if (!asked || asTones + asTexts + asPosts === 0) return null
  const ways = [
    ...(asTones > 0 ? ['tones in the audio'] : []),
    ...(asTexts > 0 ? ['text frames'] : []),
    ...(asPosts > 0 ? ['POSTs to the voice URL'] : []),
  ]
  return `as ${ways.join(' and ')}`
}

/**
 * Settings that follow from the facts, by variable.
 * @param paths  the spellings of API requests that worked, if they are not the default spellings
 */
export function settingsOf(calls: readonly CallFacts[], paths: readonly string[]): Readonly<Record<string, string>> {
  const { after, signature } = seenIn(calls)
  return {
    ...(after === null ? {} : { SAUTIKIT_AFTER_STREAM: after.seen }),
    ...(signature === null || signature.secret === null
      ? {}
      : { SAUTIKIT_BARE_SIGNATURES: String(signature.form === 'bare') }),
    ...(paths.length === 0 ? {} : { SAUTIKIT_API_PATHS: paths.join(',') }),
  }
}

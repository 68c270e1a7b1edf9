import type { CarrierState } from '../../sautikit/carrier-state.js'
import { isJsonObject, parseJsonObject } from '../../sautikit/call-fields.js'
import type { JsonObject } from '../../sautikit/call-fields.js'
import { JSON_DEPTH_MAX } from '../../core/limits.js'

/**
 * Facts of the carrier's protocol from one call, without anything of its caller: names and forms of fields, never
 * numbers, ids, tokens or words. All times are in ms since the call's first POST.
 */
export interface CallFacts {
  readonly track: 'inbound_track' | 'both_tracks'
  /** The first FACTS_POSTS_MAX of the call, in order. */
  readonly posts: readonly PostFacts[]
  /** Null: the carrier opened no audio socket. */
  readonly stream: StreamFacts | null
  readonly afterStream: AfterStreamFacts
}

/** Bounds of what is kept of one call. */
export const FACTS_POSTS_MAX = 50
const FIELDS_MAX = 64
const NAME_CHARS_MAX = 64

export type PostUrl = 'voice' | 'events' | 'stream-status' | 'after-stream'

export interface PostFacts {
  readonly atMs: number
  readonly url: PostUrl
  /** The media type alone; null without one. */
  readonly contentType: string | null
  readonly state: CarrierState
  readonly signature: SignatureFacts
  /** Names as the carrier writes them, each with the form of its value. */
  readonly fields: Readonly<Record<string, string>>
}

export interface SignatureFacts {
  /** `dated`: `t=…,v1=…`; `bare`: hex alone; `other`: a header of another form. */
  readonly form: 'dated' | 'bare' | 'other' | 'none'
  /** Which of SAUTIKIT_WEBHOOK_SECRETS made it, from 1; null: none of them did. */
  readonly secret: number | null
}

export interface StreamFacts {
  readonly openedAtMs: number
  /** Names of the handshake's headers, in order. */
  readonly headers: readonly string[]
  readonly subprotocols: readonly string[]
  /** Null: no text frame came. */
  readonly firstText: { readonly beforeAudio: boolean; readonly fields: Readonly<Record<string, string>> } | null
  /** Later text frames by their type. */
  readonly texts: Readonly<Record<string, number>>
  readonly audio: AudioFacts
  readonly killAudio: KillFacts
  /** Keys that the caller pressed, by how they came. */
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
  /** The most frequent sizes of messages in bytes, with how many had them. */
  readonly sizes: readonly { readonly bytes: number; readonly messages: number }[]
  readonly largestBytes: number
  readonly emptyMessages: number
  readonly oddMessages: number
  /** From the opened socket to the first audio; null: none came. */
  readonly firstAfterMs: number | null
  readonly channels: 1 | 2
  readonly longestGapMs: number
}

export interface KillFacts {
  readonly seen: 'obeyed' | 'ignored' | 'unknown'
  /** Evidence: answers to a mark, our own tone in the audio that came back, or a key that the caller pressed. */
  readonly by: 'marks' | 'echo' | 'caller' | null
  readonly marks: 'answered' | 'unanswered'
}

export interface AfterStreamFacts {
  readonly seen: 'continues' | 'holds' | 'unknown'
  /** Who asked how the call goes on, and how long after our close. */
  readonly askedBy: PostUrl | null
  readonly askedAfterMs: number | null
  /** Outcome of our request to the REST API to end the call; null: there was none. */
  readonly hangUp: 'ended' | 'not-ended' | 'refused' | null
}

// --- forms of values ----------------------------------------------------------------------------------------

/** Fields whose values are words of the protocol; all other values are a person's, or lead to one. */
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

/** Each field of an object with the form of its value; fields of inner objects as `data.call_id`. */
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

/** The form of a text frame: that of each field, or its length where it is no JSON object. */
export function formsOfText(text: string): Record<string, string> {
  const object = parseJsonObject(text, JSON_DEPTH_MAX)
  return object === undefined ? { '(no JSON)': `<${text.length} characters>` } : formsOf(object)
}

// --- what follows from the facts ----------------------------------------------------------------------------

/** A question of docs/PROTOCOL.md 8, in its words, and the answer that these calls give; null: it is still open. */
export interface Question {
  readonly question: string
  readonly answer: string | null
}

/** The open questions of docs/PROTOCOL.md 8 as far as these calls settle them. */
export function questionsOf(calls: readonly CallFacts[]): readonly Question[] {
  const { after, kill, signature, bothTracks, keys, firstText } = seenIn(calls)
  return [
    { question: 'Who asks for the Dial after our close?', answer: after === null ? null : afterText(after) },
    {
      question: 'Is `killAudio` obeyed?',
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
  /** Signature of the voice POSTs alone; the first that differs from the others counts. */
  readonly signature: SignatureFacts | null
  readonly bothTracks: AudioFacts | null
  readonly keys: string | null
  readonly firstText: string | null
}

/** The newest call that shows a thing counts. */
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

/** The signature that the gateway trusts least: one unsigned POST of a signed call is refused all the same. */
function weakest(posts: readonly PostFacts[]): SignatureFacts | null {
  const trust = ({ form, secret }: SignatureFacts): number =>
    ['none', 'other', 'bare', 'dated'].indexOf(form) + (secret === null ? 0 : 10)
  const [first] = posts.map(({ signature }) => signature).sort((a, b) => trust(a) - trust(b))
  return first ?? null
}

/** How a signature reads, with what it means for the gateway. */
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
 * The settings that follow from the facts, by their variable.
 * @param paths  the spellings of API requests that worked, where they are not the first ones
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

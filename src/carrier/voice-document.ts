import { SaxesParser } from 'saxes'
import { jsonObject } from '../core/json.js'

/** One element of a voice document. Names and attributes are as written; text is trimmed. */
export interface Verb {
  readonly name: string
  readonly attributes: Readonly<Record<string, string>>
  readonly text: string
  readonly children: readonly Verb[]
}

/** Error for a document that the PBX would refuse. */
export class DocumentRefused extends Error {
  constructor(message: string) {
    super(message)
    this.name = 'DocumentRefused'
  }
}

const VERBS_MAX = 50
const VERBS = ['Say', 'Play', 'GetDigits', 'Dial', 'Conference', 'Record', 'Redirect', 'Reject', 'Hangup', 'Stream']
const NOUNS = ['Number', 'Sip']
/** Limits of the lineage for a media URL and for the first text. */
const STREAM_HOST_BYTES_MAX = 512
const STREAM_PATH_BYTES_MAX = 4096
const STREAM_METADATA_BYTES_MAX = 8192

interface OpenVerb {
  name: string
  attributes: Record<string, string>
  text: string
  children: OpenVerb[]
}

/**
 * Reads a document as the PBX does: strict XML, `Response` as the root, known verbs only, in order.
 * @throws DocumentRefused
 */
export function parseVoiceDocument(body: string): readonly Verb[] {
  const parser = new SaxesParser()
  const open: OpenVerb[] = []
  let root: OpenVerb | null = null
  let fault: Error | null = null
  parser.on('error', (error) => {
    fault ??= error
  })
  parser.on('opentag', (tag) => {
    const verb: OpenVerb = { name: tag.name, attributes: { ...tag.attributes }, text: '', children: [] }
    open.at(-1)?.children.push(verb)
    root ??= verb
    open.push(verb)
  })
  const addText = (text: string): void => {
    const verb = open.at(-1)
    if (verb) verb.text += text
  }
  parser.on('text', addText)
  parser.on('cdata', addText)
  parser.on('closetag', () => {
    const verb = open.pop()
    if (verb) verb.text = verb.text.trim()
  })
  parser.write(body).close()
  if (fault !== null) throw new DocumentRefused(`not well-formed XML: ${(fault as Error).message}`)
  return checkedVerbs(root)
}

function checkedVerbs(root: OpenVerb | null): readonly Verb[] {
  if (root?.name !== 'Response')
    throw new DocumentRefused(`the outermost element is ${root?.name ?? 'missing'} and not Response`)
  if (root.children.length > VERBS_MAX)
    throw new DocumentRefused(`${root.children.length} verbs; ${VERBS_MAX} are allowed`)
  for (const verb of root.children) {
    if (!VERBS.includes(verb.name)) throw new DocumentRefused(`there is no verb ${verb.name}`)
    for (const child of verb.children) {
      const allowed = verb.name === 'GetDigits' ? ['Say', 'Play'] : verb.name === 'Dial' ? NOUNS : []
      if (!allowed.includes(child.name)) throw new DocumentRefused(`${child.name} cannot stand inside ${verb.name}`)
    }
  }
  return root.children
}

/** The attributes of a Stream verb. */
export interface StreamRequest {
  readonly url: string
  readonly track: 'inbound_track' | 'outbound_track' | 'both_tracks'
  readonly connect: boolean
  /** Rate of the audio to the gateway. */
  readonly outputRateHz: 8000 | 16000
  /** Rate of the audio from the gateway. */
  readonly inputRateHz: 8000 | 16000
  readonly name: string | null
  readonly headerMetadata: Readonly<Record<string, unknown>> | null
  readonly openMetadata: string | null
  readonly statusCallback: string | null
  readonly statusEvents: readonly string[]
}

/**
 * Reads a Stream verb.
 * @param complain  called with each fault that the real carrier would not accept
 * @throws DocumentRefused if no stream can be opened
 */
export function readStream(verb: Verb, complain: (what: string) => void): StreamRequest {
  const attribute = (name: string): string | null => verb.attributes[name] ?? null
  const url = attribute('url')
  if (url === null || !URL.canParse(url)) throw new DocumentRefused('Stream has no url that can be parsed')
  const { host, pathname, search } = new URL(url)
  if (Buffer.byteLength(host) > STREAM_HOST_BYTES_MAX)
    complain(`the host of the stream's url is longer than ${STREAM_HOST_BYTES_MAX} bytes`)
  if (Buffer.byteLength(pathname + search) > STREAM_PATH_BYTES_MAX)
    complain(`path and query of the stream's url are longer than ${STREAM_PATH_BYTES_MAX} bytes`)
  if (!/^wss?:\/\/[^/?#]+\//.test(url))
    complain('the url of the stream has no path before its query: the lineage loses the query')
  const track = attribute('track') ?? 'inbound_track'
  if (track !== 'inbound_track' && track !== 'outbound_track' && track !== 'both_tracks')
    throw new DocumentRefused(`track "${track}" is unknown`)
  const outputRateHz = rate(attribute('outputSamplingRate'), complain, 'outputSamplingRate')
  const inputRate = attribute('bidirectionalSamplingRate')
  if (inputRate === null) complain('Stream has no bidirectionalSamplingRate: playing back is undefined then')
  const headers = attribute('headerMetadata')
  const headerMetadata = headers === null ? null : jsonObject(headers)
  if (headers !== null && headerMetadata === null) complain('headerMetadata is no JSON object')
  const openMetadata = attribute('openMetadata')
  const metadataBytes = Buffer.byteLength(headers ?? '') + Buffer.byteLength(openMetadata ?? '')
  if (metadataBytes > STREAM_METADATA_BYTES_MAX)
    complain(
      `the metadata of the stream has ${metadataBytes} bytes; the carrier keeps at most ${STREAM_METADATA_BYTES_MAX}`,
    )
  return {
    url,
    track,
    connect: attribute('connect') === 'true',
    outputRateHz,
    inputRateHz: inputRate === null ? outputRateHz : rate(inputRate, complain, 'bidirectionalSamplingRate'),
    name: attribute('name'),
    headerMetadata,
    openMetadata,
    statusCallback: attribute('statusCallback'),
    statusEvents: (attribute('statusEvents') ?? '').split(' ').filter((event) => event !== ''),
  }
}

function rate(value: string | null, complain: (what: string) => void, name: string): 8000 | 16000 {
  if (value === '8000') return 8000
  if (value !== '16000') complain(`${name} is ${value ?? 'missing'} and not 8000 or 16000`)
  return 16000
}
